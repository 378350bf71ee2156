package daemon

import "github.com/coderclaw/gateway/pkg/service/usage"

// usage makes the service that tells what runs have used.
func (d *Daemon) usage(storePath string) *usage.Service {
	return usage.New(usage.Config{Sessions: d.sessions, StorePath: storePath, Price: d.price})
}

package settings

import "net/url"

// The words of gateway.mode.
const (
	ModeLocal  = "local"
	ModeRemote = "remote"
)

// checkRemote applies the rules of gateway.mode and gateway.remote.
func (g *Gateway) checkRemote(given map[string]bool) (problems []string) {
	r := g.Remote
	switch g.Mode {
	case ModeLocal:
	case ModeRemote:
		if r.URL == "" {
			problems = append(problems, "gateway.mode is \"remote\" and gateway.remote.url is not set: name the gateway, such as wss://gateway.example.com:18789")
		}
	default:
		problems = append(problems, "gateway.mode must be \"local\" or \"remote\"")
	}
	if r.URL != "" {
		u, err := url.Parse(r.URL)
		if err != nil || (u.Scheme != "ws" && u.Scheme != "wss") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			problems = append(problems, "gateway.remote.url must be a ws:// or wss:// URL without user name, query or fragment")
		}
	}
	for _, s := range []struct {
		key    string
		secret Secret
	}{{"gateway.remote.token", r.Token}, {"gateway.remote.password", r.Password}} {
		if given[s.key] && !s.secret.IsSet() {
			problems = append(problems, s.key+" is empty: give the other gateway's secret, or leave the key out")
		}
	}
	return problems
}

package cli

import (
	"net/http"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/pkg/certificate"
	"github.com/coderclaw/gateway/pkg/client"
)

func pinFlag() cli.Flag {
	return &cli.StringFlag{Name: flagPin, Usage: "the `SHA-256` of the gateway's certificate or key, when no authority vouches for it"}
}

// pinned returns the client that opens connections to url: nil, the usual one, unless a
// certificate is pinned.
func (a *Conformance) pinned(c *cli.Context, url string) (*http.Client, error) {
	text := c.String(flagPin)
	if text == "" {
		return nil, nil
	}
	pin, err := certificate.ParsePin(text)
	if err != nil {
		return nil, usagef("--%s: %w", flagPin, err)
	}
	addr, err := client.ParseAddress(url)
	if err != nil {
		return nil, usagef("%w", err)
	}
	if !addr.Secure() {
		return nil, usagef("--%s needs a wss:// URL", flagPin)
	}
	pinned := addr.HTTPClient(client.Pins{Accept: []certificate.Pin{pin}, From: "--" + flagPin})
	pinned.Transport.(*http.Transport).DialContext = nil // --remote-url is reached through it too
	return pinned, nil
}

package openai

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/coderclaw/gateway/pkg/agent"
)

const officialBaseURL = "https://api.openai.com/v1"

// normalizeBaseURL brings what people write into the form that paths are
// appended to: no final slash, and /v1 where there is no path at all. A path that
// was given is kept, because some services have another one (/api/v1,
// /v1beta/openai). Errors never repeat user:password of a URL.
func normalizeBaseURL(raw string, haveKey bool, key string) (*url.URL, error) {
	raw = strings.TrimSpace(raw)
	if raw == "" {
		if !haveKey {
			return nil, fmt.Errorf("%w: set %s to the address of a service (such as http://127.0.0.1:11434/v1), or OPENAI_API_KEY to use OpenAI's own", agent.ErrNotConfigured, key)
		}
		raw = officialBaseURL
	}
	if !strings.Contains(raw, "://") {
		host, _, _ := strings.Cut(raw, "/")
		host, _, _ = strings.Cut(host, ":")
		if !isLoopback(host) {
			return nil, badBaseURL(key, "it must begin with http:// or https://")
		}
		raw = "http://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, badBaseURL(key, "it is not a URL") // url.Parse's text repeats its input
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, badBaseURL(key, "it must begin with http:// or https://")
	case u.Hostname() == "":
		return nil, badBaseURL(key, "it names no host")
	case u.User != nil:
		return nil, badBaseURL(key, "it must not hold a user name or password; use the API key")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, badBaseURL(key, "it must not hold ? or #")
	}
	path := strings.TrimRight(u.Path, "/")
	path = strings.TrimSuffix(path, "/chat/completions") // the address of the endpoint itself is a common slip
	path = strings.TrimRight(path, "/")
	if path == "" {
		path = "/v1"
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: path}, nil
}

func badBaseURL(key, why string) error {
	return fmt.Errorf("%s cannot be used: %s", key, why)
}

// isLoopback reports whether host names this machine. Names are not resolved.
func isLoopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

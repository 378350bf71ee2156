package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/google/uuid"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

// Exit codes, as the help text documents them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitConnect     = 3
	exitRefused     = 4
	exitInterrupted = 130
)

// usageError is a mistake in the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// hintError is an error with the thing to do about it.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

func withHint(err error, format string, args ...any) error {
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// errInterrupted ends a command that Ctrl-C stopped; errTold one that has already
// told what is wrong. Both print nothing more.
var (
	errInterrupted = errors.New("interrupted")
	errTold        = errors.New("failed")
)

// failure is an error as --json prints it.
type failure struct {
	Exit    int             `json:"exit"`
	Message string          `json:"message"`
	Hint    string          `json:"hint,omitempty"`
	Code    string          `json:"code,omitempty"`
	Details json.RawMessage `json:"details,omitempty"`
	// explain is the finest code that the catalogue has an entry for.
	explain string
}

// report prints err, if there is one, and returns the exit code.
func (a *App) report(err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.Is(err, errTold):
		return exitFailed
	}
	f := describe(err)
	if a.out.json {
		data, _ := json.Marshal(map[string]failure{"error": f})
		fmt.Fprintf(a.Stderr, "%s\n", data)
		return f.Exit
	}
	fmt.Fprintf(a.Stderr, "%s %s\n", a.out.errStyle(red, "coderclaw:"), f.Message)
	if f.Hint != "" {
		fmt.Fprintf(a.Stderr, "  %s\n", f.Hint)
	}
	if f.explain != "" {
		fmt.Fprintf(a.Stderr, "  try: coderclaw explain %s\n", f.explain)
	}
	return f.Exit
}

// describe sorts an error into an exit code, a message and a hint.
func describe(err error) failure {
	f := failure{Exit: exitFailed, Message: err.Error()}
	var (
		usage   *usageError
		hint    *hintError
		refused *client.RefusedError
		closed  *client.CloseError
		werr    *wire.Error
		dial    *net.OpError
		target  *targetError
	)
	if errors.As(err, &werr) {
		f.Code, f.Details, f.Message = werr.Code, werr.Details, werr.Message
		if e, ok := catalogued(werr); ok {
			f.explain, f.Hint = e.Name, e.Fix
		}
	}
	if faults := (*faultsError)(nil); errors.As(err, &faults) {
		f.Message, f.Hint, f.explain = faults.Error(), "", ""
	}
	switch {
	case errors.As(err, &usage):
		f.Exit = exitUsage
	case errors.As(err, &refused):
		f.Exit = exitRefused
		f.Message = fmt.Sprintf("the gateway at %s refused: %s", refused.URL, refused.Err.Message)
		errors.As(err, &target)
		if hint := refusalHint(refused, target); hint != "" {
			f.Hint = hint
		}
	case errors.As(err, &target):
		f.Exit = exitConnect
		describeTarget(&f, target)
	case errors.As(err, &closed), errors.As(err, &dial):
		f.Exit = exitConnect
	case werr != nil && isScopeRefusal(werr):
		f.Exit = exitRefused
	case errors.Is(err, context.DeadlineExceeded):
		f.Message = "no answer in time"
		f.Hint = "give it longer with --timeout, or look at: coderclaw logs"
	}
	if errors.As(err, &hint) {
		f.Hint = hint.hint
	}
	return f
}

// describeTarget words the ways in which a connection does not come about.
func describeTarget(f *failure, e *targetError) {
	var dns *net.DNSError
	if describeTLS(f, e) {
		return
	}
	switch {
	case errors.Is(e, client.ErrPlaintext):
		f.Message = fmt.Sprintf("%s is another machine, and ws:// does not encrypt", e.url)
		f.Hint = "use wss://, or a tunnel (ssh -L 18789:127.0.0.1:18789 HOST), or accept the risk with --allow-plaintext"
	case errors.Is(e, syscall.ECONNREFUSED):
		f.Message = "no gateway is listening on " + e.url
		f.Hint = "start one with: coderclaw gateway"
		if !e.local {
			f.Hint = "check --url, and that the gateway runs there"
		}
	case errors.As(e, &dns):
		f.Message = fmt.Sprintf("there is no host %q", dns.Name)
		f.Hint = "check --url"
	case errors.Is(e, context.DeadlineExceeded):
		f.Message = "no answer from " + e.url
		f.Hint = "something listens there, but not a gateway, or it is out of reach: check --url"
	case errors.Is(e, io.EOF):
		f.Message = e.url + " hung up during the handshake"
		f.Hint = "check that a gateway runs there, and that ws:// or wss:// is right"
	}
}

// catalogued returns the catalogue's entry of a refusal: of its details code, or of a
// code that is itself telling. The two that stand above everything help nobody.
func catalogued(e *wire.Error) (wire.ErrorInfo, bool) {
	if info, ok := protocol.FindError(detailCode(e)); ok {
		return info, true
	}
	if e.Code == protocol.ErrorInvalidRequest || e.Code == protocol.ErrorUnavailable {
		return wire.ErrorInfo{}, false
	}
	return protocol.FindError(e.Code)
}

// refusalHint says of a refused connect what the catalogue cannot know: what this
// command sent and speaks. It is empty when the catalogue's advice will do. Gateways
// without a details code are told apart by their words.
func refusalHint(e *client.RefusedError, t *targetError) string {
	detail, message := detailCode(e.Err), strings.ToLower(e.Err.Message)
	switch {
	case e.TokenDropped:
		return "the stored device token is forgotten; connect once with --token SECRET (the gateway's secret is in gateway.token in its state directory)"
	case requestID(e.Err) != "":
		return "have it approved on the gateway's machine: coderclaw devices approve " + requestID(e.Err)
	case detail == protocol.DetailProtocolMismatch || strings.Contains(message, "protocol mismatch"):
		return fmt.Sprintf("this command speaks protocol %d: update it, or the gateway", protocol.Version)
	case strings.Contains(message, "token missing"), strings.Contains(message, "token mismatch"):
		return tokenHint(t)
	case strings.Contains(message, "password missing"), strings.Contains(message, "password mismatch"):
		return passwordHint(t)
	case strings.Contains(message, "host not allowed"):
		return "address it by IP or localhost, or add the name to gateway.allowedHosts in its config"
	}
	return ""
}

// tokenHint says which token was sent and where the right one is.
func tokenHint(t *targetError) string {
	const right = "the gateway's secret is in gateway.token in its state directory, or in its config"
	switch {
	case t == nil:
		return right
	case t.tokenFrom != "":
		return fmt.Sprintf("the token came from %s; %s", t.tokenFrom, right)
	case t.passwordFrom != "":
		return fmt.Sprintf("a password was sent, from %s, and the gateway takes a token; %s", t.passwordFrom, right)
	case !t.local:
		return "no token was sent: another gateway's must be given with --token, or stand in gateway.remote.token; " + right
	}
	return fmt.Sprintf("no token was found in %s: %s; give it with --token or CODERCLAW_GATEWAY_TOKEN", t.stateDir, right)
}

// passwordHint says which password was sent, if any, and how to give the right one.
func passwordHint(t *targetError) string {
	const give = "give the gateway's password with --password-file FILE or CODERCLAW_GATEWAY_PASSWORD"
	if t == nil || t.passwordFrom == "" {
		return give
	}
	return fmt.Sprintf("the password came from %s; %s", t.passwordFrom, give)
}

func isScopeRefusal(e *wire.Error) bool {
	detail := detailCode(e)
	return detail == protocol.DetailMissingScope || detail == protocol.DetailRoleUnauthorized || e.Code == protocol.ErrorNotPaired
}

// requestID returns the pairing request that a refusal names, or "". It comes from a
// stranger and is shown as part of a command, so it must look like one.
func requestID(e *wire.Error) string {
	d, err := protocol.DecodeErrorDetailsOpen(e.Details)
	if err != nil || d.Code.V != protocol.DetailPairingRequired {
		return ""
	}
	id, err := uuid.Parse(d.RequestID.V)
	if err != nil {
		return ""
	}
	return id.String()
}

// detailCode returns the finer code of a refusal, or "".
func detailCode(e *wire.Error) string {
	d, err := protocol.DecodeErrorDetailsOpen(e.Details)
	if err != nil {
		return ""
	}
	return d.Code.Or("")
}

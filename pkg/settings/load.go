package settings

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Source says where Load reads from.
type Source struct {
	// Path is the config file; a file that does not exist counts as empty. The
	// empty path reads no file.
	Path string
	// Getenv looks up the environment; nil is os.Getenv.
	Getenv func(string) string
	// Flags are what the command line said; they win over everything.
	Flags Flags
	// EnvOptional treats a key whose ${VARIABLE} is not set as absent. It is for
	// programs beside the gateway, whose environment may lack what the gateway's has.
	EnvOptional bool
	// base is the config file that relative paths in the text count from, when it is
	// not Path.
	base string
}

// Flags are command line values; nil is a flag that was not given.
type Flags struct {
	Port     *int
	Bind     *string
	Token    *string
	Password *string
	// AuthMode is gateway.auth.mode. A Token or Password without it chooses its own.
	AuthMode *string
}

// Paths returns the state directory (CODERCLAW_STATE_DIR, else ~/.coderclaw) and
// the config file (CODERCLAW_CONFIG_PATH, else coderclaw.json in that directory),
// both absolute. getenv is usually os.Getenv; a caller with a flag for either
// wraps it.
func Paths(getenv func(string) string) (stateDir, configPath string) {
	home := getenv("HOME")
	if home == "" {
		home, _ = os.UserHomeDir()
	}
	stateDir = absolute(getenv("CODERCLAW_STATE_DIR"), home)
	if stateDir == "" {
		stateDir = absolute(stateDirName, home)
		if home != "" {
			stateDir = filepath.Join(home, stateDirName)
		}
	}
	configPath = absolute(getenv("CODERCLAW_CONFIG_PATH"), home)
	if configPath == "" {
		configPath = filepath.Join(stateDir, configFileName)
	}
	return stateDir, configPath
}

// absolute resolves a leading ~ and a relative path; blank stays blank.
func absolute(path, home string) string {
	path = strings.TrimSpace(path)
	if path == "" {
		return ""
	}
	if path == "~" || strings.HasPrefix(path, "~/") {
		path = filepath.Join(home, path[1:])
	}
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return filepath.Clean(path)
}

// Load resolves the settings from flags, environment, file and defaults, in that
// precedence, and checks them. The error names every problem found with its key and
// line, and what to do about it; it never shows a value.
func Load(src Source) (*Settings, error) {
	d, err := Read(src)
	if err != nil {
		return nil, err
	}
	return d.Settings, d.Err()
}

// readFile returns the config file's bytes; nil when there is none. Only a regular
// file is read: a fifo or a terminal would block the start.
func readFile(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("config %s is not a regular file", path)
	}
	raw, err := io.ReadAll(io.LimitReader(f, fileBytesMax+1)) // never nil
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	if len(raw) > fileBytesMax {
		return nil, fmt.Errorf("config %s is larger than %d bytes", path, fileBytesMax)
	}
	return raw, nil
}

// applyEnv overlays the environment. A variable that is set to nothing counts as
// unset, as in every shell script that exports an empty default.
func (s *Settings) applyEnv(getenv func(string) string, given map[string]bool) (problems []string) {
	if v := getenv("CODERCLAW_GATEWAY_PORT"); v != "" {
		port, err := strconv.Atoi(strings.TrimSpace(v))
		if err != nil {
			problems = append(problems, "CODERCLAW_GATEWAY_PORT is not a number")
		}
		s.Gateway.Port = port
	}
	if v := getenv("CODERCLAW_GATEWAY_TOKEN"); v != "" {
		s.Gateway.Auth.Token = NewSecret(v)
		given["gateway.auth.token"] = true
	}
	if v := getenv("CODERCLAW_GATEWAY_PASSWORD"); v != "" {
		s.Gateway.Auth.Password = NewSecret(v)
		given["gateway.auth.password"] = true
	}
	if v := getenv("CODERCLAW_PROXY_SECRET"); v != "" {
		s.Gateway.ProxySecret.Secret, s.Gateway.ProxySecret.File = NewSecret(v), ""
	}
	return problems
}

// applyFlags overlays the command line.
func (s *Settings) applyFlags(f Flags, given map[string]bool) (problems []string) {
	if f.Port != nil {
		s.Gateway.Port = *f.Port
	}
	if f.Bind != nil {
		s.Gateway.Bind = *f.Bind
	}
	if f.Token != nil {
		s.Gateway.Auth.Token = NewSecret(*f.Token)
		given["gateway.auth.token"] = true
	}
	if f.Password != nil {
		s.Gateway.Auth.Password = NewSecret(*f.Password)
		given["gateway.auth.password"] = true
	}
	s.Gateway.Auth.resolveMode(f)
	return problems
}

// check applies the rules that types alone do not say, and puts names and origins
// into the form they are compared in.
func (s *Settings) check(given map[string]bool) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	g := &s.Gateway
	if g.Port < 0 || g.Port > 65535 {
		bad("gateway.port must be between 0 and 65535")
	}
	if _, err := g.Addrs(); err != nil {
		bad("%v", err)
	}
	problems = append(problems, g.checkAuth(given)...)
	problems = append(problems, g.TLS.check()...)
	problems = append(problems, g.checkRemote(given)...)
	problems = append(problems, s.Tasks.check()...)
	if g.MaxBufferedBytes < bufferedBytesMin || g.MaxBufferedBytes > bufferedBytesMax {
		bad("gateway.maxBufferedBytes must be between %d and %d", bufferedBytesMin, bufferedBytesMax)
	}
	for i, host := range g.AllowedHosts {
		name, err := hostName(host)
		if err != nil {
			bad("gateway.allowedHosts[%d] %v", i, err)
		}
		g.AllowedHosts[i] = name
	}
	for i, o := range g.ControlUI.AllowedOrigins {
		origin, err := originName(o)
		if err != nil {
			bad("gateway.controlUi.allowedOrigins[%d] %v", i, err)
		}
		g.ControlUI.AllowedOrigins[i] = origin
	}
	problems = append(problems, s.checkRest()...)
	problems = append(problems, s.Models.check()...)
	problems = append(problems, s.Agents.check()...)
	return problems
}

var (
	reloadModes = []string{ReloadHybrid, ReloadHot, ReloadRestart, ReloadOff}
	logLevels   = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	seamColor   = regexp.MustCompile(`^#?[0-9A-Fa-f]{6}$`)
)

// checkRest applies the rules of reload, logging and ui.
func (s *Settings) checkRest() (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	r := s.Gateway.Reload
	if !slices.Contains(reloadModes, r.Mode) {
		bad("gateway.reload.mode must be one of %s", strings.Join(reloadModes, ", "))
	}
	if r.DebounceMs < debounceMsLeast || r.DebounceMs > debounceMsMost {
		bad("gateway.reload.debounceMs must be between %d and %d", debounceMsLeast, debounceMsMost)
	}
	if _, ok := s.Logging.level(); s.Logging.Level != "" && !ok {
		bad("logging.level must be debug, info, warn or error")
	}
	if c := s.UI.SeamColor; c != "" && !seamColor.MatchString(c) {
		bad("ui.seamColor must be a colour such as #336699")
	}
	return problems
}

// Slog returns the level that is logged; other when none is set.
func (l Logging) Slog(other slog.Level) slog.Level {
	if level, ok := l.level(); ok {
		return level
	}
	return other
}

func (l Logging) level() (slog.Level, bool) {
	level, ok := logLevels[l.Level]
	return level, ok
}

// hostName checks an allowed host and returns it in lower case without a final dot.
func hostName(host string) (string, error) {
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	if addr, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return addr.Unmap().String(), nil
	}
	if name == "" || len(name) > 253 || strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
	}) {
		return "", errors.New("must be a plain host name: no scheme, port, path or wildcard (write an international name in its xn-- form)")
	}
	return name, nil
}

// originName checks an allowed origin and returns it in lower case.
func originName(origin string) (string, error) {
	o := strings.ToLower(origin)
	u, err := url.Parse(o)
	if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != o || strings.Contains(o, "*") {
		return "", errors.New("must be scheme://host or scheme://host:port, with nothing after it and no wildcard")
	}
	return o, nil
}

func isBaseURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" &&
		u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

package defences

// wireDefences are those of pkg/wire: what a text may be.
var wireDefences = []defence{
	{"142 depth of typed values", "decode.go", "if d.peek() != '[' || d.depth == depthTypedMax {", "if d.peek() != '[' {", "TestDepthOfTypedValues"},
	{"142 depth of typed objects", "decode.go", "if d.peek() != '{' || d.depth == depthTypedMax {", "if d.peek() != '{' {", "TestDepthOfTypedValues"},
	{"142 depth of untyped values", "scan.go", "if depth == depthRawMax {", "if depth == depthRawMax+1 {", "TestValidJSON"},
	{"142 text that is no UTF-8", "scan.go", `if high&lanesHigh != 0 && !utf8.ValidString(s[start:i]) {`, `if high&lanesHigh != 0 && start < 0 && !utf8.ValidString(s[start:i]) {`, "TestText"},
	{"142 integers that do not fit", "decode.go", `if kind != intFits {`, `if kind == intFits+9 {`, "TestInt"},
	{"142 members in another case", "decode.go", "\treturn s[start:end], true\n}\n\n// CloseObject", "\treturn strings.ToLower(s[start:end]), true\n}\n\n// CloseObject", "gen/protocol TestMembersInAnotherCase"},
}

// protocolDefences are those of gen/protocol, for which one generated decoder stands.
var protocolDefences = []defence{
	{"142 members that come twice", "frames_codec.gen.go", "func (v *TickEvent) decode(d *wire.Decoder) bool {\n\tif !d.OpenObject() {\n\t\treturn false\n\t}\n\tvar seen0 uint64\n\tfor key, ok := d.Member(); ok; key, ok = d.Member() {\n", "func (v *TickEvent) decode(d *wire.Decoder) bool {\n\tif !d.OpenObject() {\n\t\treturn false\n\t}\n\tvar seen0 uint64\n\tfor key, ok := d.Member(); ok; key, ok = d.Member() {\n\t\tseen0 = 0\n", "TestRefusedSyntax"},
	{"60 what a scope implies", "frames.gen.go", "\t\tif h == need {\n", "\t\tif h == need || h == ScopeOperatorPairing {\n", "pkg/daemon TestEveryMethodUnderEverySingleScope"},
	{"60 what a scope implies, method by method", "frames.gen.go", "\t\tswitch h {\n\t\tcase ScopeOperatorAdmin:", "\t\tswitch h {\n\t\tcase ScopeOperatorAdmin, ScopeOperatorApprovals:", "pkg/daemon TestEveryMethodUnderEverySingleScope"},
}

// settingsDefences are those of pkg/settings: secrets and where to listen.
var settingsDefences = []defence{
	{"7 a mode without proof", "auth.go", `bad("gateway.auth.mode must be %q, %q or %q: there is no mode without a proof", AuthToken, AuthPassword, AuthTrustedProxy)`, ``, "TestLoadRefuses"},
	{"7 a secret that can be guessed", "rotate.go", `_, _ = rand.Read(random)`, `_, _ = rand.Read(random[:0])`, "TestGeneratedTokensDiffer"},
	{"7 a folder that others could read", "token.go", `if err := os.Chmod(dir, 0o700); err != nil {`, `if err := error(nil); err != nil {`, "TestTokenFileIsMendedOrRefused"},
	{"7 a secret file that others could read", "token.go", "if info.Mode().Perm()&0o077 != 0 {\n\t\tif err := f.Chmod", "if false {\n\t\tif err := f.Chmod", "TestTokenFileIsMendedOrRefused"},
	{"7 a secret file of somebody else", "token.go", `os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK`, `os.O_RDONLY|syscall.O_NONBLOCK`, "TestTokenFileIsMendedOrRefused"},
	{"6 words for a missing value", "token.go", `case "undefined", "null", "nil", "none", "nan", "[object object]":`, `case "undefined\x00":`, "TestTokenWordsAreRefusedWhereverTheyComeFrom"},
	{"36 a proxy that is everybody", "auth.go", `if prefix.Bits() == 0 {`, `if false {`, "TestLoadRefuses"},
	{"41 every interface", "bind.go", `[4]byte{127, 0, 0, 1}`, `[4]byte{}`, "TestAddrs"},
	{"41 every interface, as the kernel sees it", "bind.go", `addrs = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}`, `addrs, g.TLS.AllowPlaintextLan = []netip.Addr{netip.IPv4Unspecified()}, true`, "pkg/daemon TestTheKernelSeesLoopbackListenersOnly"},
	{"63 secrets in JSON", "secret.go", `return []byte(redacted), nil`, `return []byte(s.text), nil`, "TestSecretNeverPrints"},
	{"63 secrets in the log", "secret.go", `return slog.StringValue(redacted)`, `return slog.StringValue(s.text)`, "TestSecretNeverPrints"},
	{"63 secrets by reflection", "secret.go", `func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }`, `func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.text) }`, "TestSecretNeverPrints"},
	{"41 plain text beyond loopback", "bind.go", `if !addr.IsLoopback() && !open {`, `if !open && false {`, "TestAddrs"},
	{"63 secrets in what is shown", "place.go", `p.t == secretType || isGroup(p.t)`, `isGroup(p.t)`, "TestViewHides"},
	{"63 secrets in the wrong place", "place.go", `return p.t == nil || p.t == secretType`, `return p.t == secretType`, "TestViewHides"},
	{"63 secrets in comments", "redact.go", `return json5.ReplaceInComments(json5.Apply(d.Raw, edits), words, Redacted)`, `return json5.Apply(d.Raw, edits)`, "TestViewHides"},
	{"63 secrets under keys of others", "place.go", `return p.hiding == hideAll ||`, `return false && p.hiding == hideAll ||`, "TestForeignKeysAreKept"},
	{"63 a secret that is given twice", "redact.go", `if len(d.main.Twice) > 0 || hasTwice(d.main) {`, `if false {`, "TestViewHides"},
	{"63 what the environment holds", "redact.go", `if !p.hides(n) && !fromEnv[path] {`, `if !p.hides(n) {`, "TestEnvironmentReferences"},
	{"63 defaults with the environment", "redact.go", `if _, hidden := about(path); hidden || v.Type()`, `if _, hidden := about(path); hidden && false || v.Type()`, "TestEnvironmentReferences"},
	{"64 a placeholder of nothing", "redact.go", `case isPlaceholder(n.Text) && stored == nil:`, `case false:`, "TestPlaceholders"},
	{"64 a placeholder among text", "redact.go", `case strings.Contains(n.Text, Redacted), strings.Contains(n.Text, redactedElsewhere):`, `case false:`, "TestPlaceholders"},
	{"64 a placeholder saved as the secret", "redact.go", `return text == Redacted || text == redactedElsewhere`, `return text == Redacted`, "TestPlaceholders"},
	{"6 references to nothing", "expand.go", `} else if value == "" {`, `} else if false {`, "TestEnvironmentReferences"},
	{"112 includes from elsewhere", "include.go", `case filepath.IsAbs(name.Text) || !filepath.IsLocal(target):`, `case false:`, "TestIncludesRefuse"},
	{"134 includes in a circle", "include.go", `case slices.Contains(stack, target):`, `case false:`, "TestIncludesRefuse"},
	{"134 deep includes", "include.go", `case len(stack) > includeDepthMax:`, `case false:`, "TestIncludesRefuse"},
	{"134 many includes", "include.go", `case len(in.d.Files) > includeFilesMax:`, `case false:`, "TestIncludesRefuse"},
	{"134 restrictions that seem to hold", "foreign.go", `if !row.whole && restriction.MatchString(m.Key) {`, `if false {`, "TestForeignKeysThatRestrict"},
	{"134 misspelt keys", "parse.go", `w.bad(path, n, "unknown key`, `_ = fmt.Sprintf("unknown key`, "TestLoadRefuses"},
	{"134 keys given twice", "parse.go", `for _, key := range n.Twice {`, `for _, key := range n.Twice[:0] {`, "TestLoadRefuses"},
	{"134 deep texts", "document.go", `n, err := json5.Parse(raw, fileDepthMax)`, `n, err := json5.Parse(raw, 1000)`, "TestLoadRefuses"},
	{"64 a write over another's", "edit.go", `if before.Exists && baseHash != before.Hash {`, `if false {`, "TestStoreRefuses"},
	{"64 a write without a look", "edit.go", `if before.Exists && baseHash == "" {`, `if false {`, "TestStoreRefuses"},
	{"64 a text with faults", "edit.go", `case len(after.Issues) > 0:`, `case false:`, "TestStoreRefuses"},
	{"64 a version with faults", "edit.go", `if after.Settings == nil {`, `if false {`, "TestBackups"},
	{"64 half a file", "write.go", `tmp, err := os.CreateTemp(dir, filepath.Base(path)+tempPattern) // mode 0600`, `tmp, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)`, "TestACrash"},
	{"64 a faulty file as the last good one", "lastgood.go", `if d.Settings == nil {`, `if false {`, "TestLastGood"},
	{"64 a mended file that is rolled back", "lastgood.go", `if raw == nil || HashOf(raw) != p.Hash {`, `if raw == nil {`, "TestProbation"},
}

// storeDefences are those of pkg/store: who reads and who owns the files.
var storeDefences = []defence{
	{"128 a lock file for others to read", "lock.go", `os.O_RDWR|os.O_CREATE, 0o600)`, `os.O_RDWR|os.O_CREATE, 0o644)`, "TestOpenMakesPrivateFiles"},
	{"128 a folder for others to read", "store.go", `os.MkdirAll(dir, 0o700)`, `os.MkdirAll(dir, 0o755)`, "TestOpenMakesPrivateFiles"},
	{"128 a database that others could read", "store.go", `err = f.Chmod(0o600)`, `err = nil`, "TestOpenTightensTheDatabaseFile"},
	{"128 two owners", "lock.go", `unix.LOCK_EX|unix.LOCK_NB`, `unix.LOCK_SH|unix.LOCK_NB`, "TestSecondGatewayIsToldTheOwner"},
	{"128 two processes", "lock.go", `Owner: readOwner(path)}`, `Owner: Owner{}}`, "pkg/cli TestScripts/second_gateway"},
}

// clientDefences are those of pkg/client: whom a token is shown to.
var clientDefences = []defence{
	{"15 names that look like loopback", "address.go", `return err == nil && ip.Unmap().IsLoopback()`, `return err == nil && ip.Unmap().IsLoopback() || strings.HasPrefix(host, "127.")`, "TestParseAddress"},
	{"15 names that are no loopback", "address.go", `if ap, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err != nil || !ap.Addr().Unmap().IsLoopback() {`, `if _, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err != nil {`, "TestANameThatIsTakenForLoopback"},
	{"16 secrets in URLs", "address.go", `case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":`, `case false:`, "TestParseAddress"},
	{"18 a device token for another gateway", "tokens.go", `if !ok || (e.Gateway != origin && (e.Gateway != "" || !loopback)) {`, `if !ok {`, "TestTokens"},
	{"18 plain text to another host", "client.go", `if addr.plaintext() && !addr.Loopback && !o.AllowPlaintext {`, `if false {`, "TestDialRefusesPlaintextToAnotherHost"},
	{"18 redirects", "address.go", `{ return http.ErrUseLastResponse }`, `{ return nil }`, "TestDialFollowsNoRedirect"},
	{"46 a signature without challenge is never made", "connect.go", `if f.Type == frameEvent && f.Event == protocol.EventConnectChallenge.Name {`, `if f.Type == frameEvent {`, "TestDialWaitsForTheChallenge"},
	{"40 certificates that nobody vouches for", "trust.go", `no.Err = chains(state.PeerCertificates, v.host); no.Err != nil`, `no.Err = chains(state.PeerCertificates, v.host); false`, "TestNothingIsSent"},
	{"40 a pin that is ignored", "trust.go", `if !matches(v.pins.Accept, no.Got, no.GotKey) &&`, `if false &&`, "TestNothingIsSent"},
	{"40 a known key that changed", "trust.go", `if known.Key != no.GotKey {`, `if false {`, "TestNothingIsSent"},
	{"40 another pin than what was met", "trust.go", `!(met && known.Key == no.GotKey && slices.ContainsFunc(v.pins.Accept, known.has))`, `!(met && known.Key == no.GotKey)`, "TestRenewedCertificate"},
	{"40 a damaged list", "trust.go", "	if err != nil {\n		return err\n	}\n	switch {\n	case len(v.pins.Accept) > 0:", "	_ = err\n	switch {\n	case len(v.pins.Accept) > 0:", "TestAuthorities"},
	{"40 a check after the first byte", "trust.go", `		VerifyConnection:   v.verify,`, ``, "TestNothingIsSent"},
	{"40 a pin that plain text drops", "client.go", `len(o.Pins.Accept) > 0 && addr.plaintext()`, `false`, "TestPlaintextNeverLeavesThisHost"},
	{"128 known gateways for the owner alone", "known.go", `return replaceFile(k.path, append(data, '\n'))`, `return os.WriteFile(k.path, append(data, '\n'), 0o644)`, "TestKnownGatewaysFile"},
}

// certificateDefences are those of pkg/certificate: what clients pin, and who reads it.
var certificateDefences = []defence{
	{"40 a pin that was cut short", "pin.go", ` || len(raw) != sha256.Size`, ` || len(raw) == 0`, "TestParsePin"},
	{"128 a key for the owner alone", "own.go", `case info.Mode().Perm()&0o077 != 0:`, `case info == nil:`, "TestOwnCertificateIsMadeOnce"},
	{"128 a folder for the owner alone", "own.go", "if err := os.Chmod(dir, 0o700); err != nil {\n\t\treturn nil, err\n\t}", "", "TestOwnCertificateIsMadeOnce"},
	{"40 a renewal that breaks pins", "own.go", "case err == nil && !newKey:", "case false:", "TestRenew"},
	{"40 a bad file in place of a good one", "certificate.go", `expired(fresh.Leaf) && !expired(old.Leaf)`, `false`, "TestAnExpiredFile"},
	{"40 old versions of TLS", "certificate.go", `tls.VersionTLS12`, `tls.VersionTLS10`, "TestServerConfig"},
	{"40 session tickets", "certificate.go", `SessionTicketsDisabled: true`, `SessionTicketsDisabled: false`, "TestServerConfig"},
}

// cliDefences are those of pkg/cli.
var cliDefences = []defence{
	{"18 the secret of this host for another gateway", "target.go", "if !t.local {\n\t\treturn t, nil", "if false {\n\t\treturn t, nil", "TestScripts/tokens"},
}

// daemonDefences are those of pkg/daemon, which joins the others.
var daemonDefences = []defence{
	{"128 a workspace for others to read", "daemon.go", `os.MkdirAll(d.workspace(), 0o700)`, `os.MkdirAll(d.workspace(), 0o755)`, "TestFilesArePrivateWhateverTheUmask"},
	{"51 connections of a device", "authority.go", `return p.DeviceID == deviceID && (role == "" || p.Role == role) && !a.owed(p)`, `return false`, "TestTakingBackAuthorityClosesLiveConnections"},
	{"51 connections of a secret", "authority.go", `a.hub.Sever(func(p *wire.Peer) bool { return p.BySecret && p.SecretGeneration < generation },`, `a.hub.Sever(func(p *wire.Peer) bool { return false },`, "TestANewSecretClosesWhoProvedTheOldOne"},
	{"51 connections that take back their own", "authority.go", `if last && d.ended {`, `if false {`, "TestAuthorityAnswersBeforeItEnds"},
}

// logfileDefences are those of the log.
var logfileDefences = []defence{
	{"113 lines that are made up", "line.go", `line = append(line, printable(r.Message)...)`, `line = append(line, r.Message...)`, "TestTerminalLine"},
	{"113 long lines", "redact.go", `if len(text) > textBytesMax {`, `if false {`, "TestLongTextIsCut"},
	{"128 a log for others to read", "logfile.go", `fileMode   = 0o600`, `fileMode   = 0o644`, "pkg/daemon TestFilesArePrivateWhateverTheUmask"},
	{"129 secrets by name", "redact.go", "if secret {\n\t\tif value.Kind()", "if false {\n\t\tif value.Kind()", "TestRedaction"},
	{"129 secrets in texts", "redact.go", `text = s.pattern.ReplaceAllString(text, "${1}"+redacted+"${2}")`, ``, "TestRedaction"},
}

// lintDefences are those of the generator: what the schema must say of a method.
var lintDefences = []defence{
	{"60 a method without a scope", "manifest.go", `if m.Scope == "" && h.scoped(m.Role) {`, `if false {`, "TestHouse"},
	{"60 a scope that does not exist", "manifest.go", `h.oneOf(m.Pos, "scope", m.Scope, append([]string{""}, h.scopes...)...)`, ``, "TestHouse"},
	{"65 an event without an audience", "manifest.go", `h.Addf(e.Pos, "audience is missing")`, ``, "TestHouse"},
}

// deviceDefences, healthDefences and logsDefences are those of the services.
var (
	deviceDefences = []defence{
		{"44 another's requests", "list.go", `if by.Sees(p.DeviceID) {`, `if by.Sees(p.DeviceID) || true {`, "TestADeviceTokenSeesItsOwnDeviceOnly"},
		{"44 other devices", "list.go", `if by.Sees(d.DeviceID) {`, `if by.Sees(d.DeviceID) || true {`, "TestADeviceTokenSeesItsOwnDeviceOnly"},
	}
	healthDefences = []defence{
		{"24 paths for who may only read", "status.go", `admin := protocol.ScopeAllows(peer.Scopes, protocol.ScopeOperatorAdmin)`, `admin := protocol.ScopeAllows(peer.Scopes, protocol.ScopeOperatorRead)`, "TestStatusTellsPathsToAdminsOnly"},
		{"89 a link out of the workspace", "heartbeat.go", `f, err := root.Open(heartbeatFile)`, `f, err := os.Open(filepath.Join(workspace, heartbeatFile))`, "TestHeartbeatDoesNotFollowALinkOutOfTheWorkspace"},
	}
	logsDefences = []defence{
		{"89 what is no log", "logs.go", `if !info.Mode().IsRegular() {`, `if info.IsDir() {`, "TestLogsTailReadsNothingElse"},
	}
)

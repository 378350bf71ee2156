package defences

// identityDefences are those of pkg/identity: who a peer is.
var identityDefences = []defence{
	{"2 a wrong secret", "secret.go", `s.sum[:]) == 1 && s.set`, `s.sum[:]) >= 0 && s.set`, "TestConnectRefuses"},
	{"3 scopes without a device", "connect.go", "c.scopes = []string{}\n\tswitch", "switch", "TestConnectWithoutDevice"},
	{"4 scopes that nobody asked for", "connect.go", `c.scopes = grantable(c.role, p.Scopes)`, "c.scopes = grantable(c.role, p.Scopes)\n\tif len(p.Scopes) == 0 {\n\t\tc.scopes = grantable(c.role, []string{protocol.ScopeOperatorAdmin})\n\t}", "TestConnectWithoutScopesHasNone"},
	{"5 the old secret after a rotation", "events.go", `g.secret.Store(next)`, `_ = next`, "TestSetSecret"},
	{"5 connections of the old secret", "events.go", `g.events.SecretChanged(next.generation)`, ``, "TestSetSecret"},
	{"5 grants of the old secret", "events.go", `next.generation = old.generation + 1`, ``, "TestSetSecret"},
	{"6 words that are no secret", "secret.go", `settings.CheckToken(text); err != nil {`, `settings.CheckToken(text); err != nil && false {`, "TestNewRefuses"},
	{"9 guesses on this host", "limit.go", `if !t.lockedLocked(now, l.limits) {`, `if !t.lockedLocked(now, l.limits) || s.from == fromLocal {`, "TestLockout"},
	{"10 guesses beside a device", "pairing.go", `if c.proof.uncounted {`, `if false {`, "TestDeviceTokenDoesNotForgive"},
	{"10 guesses beside a device token", "secret.go", `c.deviceID != "" && g.mode == protocol.AuthModeToken`, `c.deviceID != ""`, "TestPasswordMode"},
	{"10 guesses during a lockout of tokens", "pairing.go", `if c.proof.uncounted {`, `if c.proof.uncounted && v.weighed {`, "TestALockoutOfTokens"},
	{"9 guesses that arrive together", "limit.go", "for _, t := range locked {\n\t\tt.spent++", "l.mu.Unlock()\n\ttime.Sleep(time.Millisecond)\n\tl.mu.Lock()\n\tfor _, t := range locked {\n\t\tt.spent++", "TestParallelGuesses"},
	{"11 two forms of an address", "limit.go", `addr = addr.Unmap().WithZone("")`, `addr = addr.WithZone("")`, "TestAddressesAreCanonical"},
	{"11 a network of addresses", "limit.go", `v6Bits     = 64`, `v6Bits     = 128`, "TestAddressesAreCanonical"},
	{"11 many addresses", "limit.go", `ok && l.global[key] != nil {`, `ok && false {`, "TestGlobalLimit"},
	{"12 kinds of credential", "pairing.go", `g.limiter.judge(c.source(tokenCredential),`, `g.limiter.judge(c.source(sharedCredential),`, "TestDeviceTokenDoesNotForgive"},
	{"13 memory of the limiter", "limit.go", `if l.recent.Len() >= sourcesMax {`, `if l.recent.Len() >= 2*sourcesMax {`, "TestLimiterMemory"},
	{"14 the owner during a lockout", "secret.go", `case c.paired:`, `case false:`, "TestPairedDevicePasses"},
	{"14 the right secret during a lockout", "limit.go", `reserveMax   = 5`, `reserveMax   = 0`, "TestLockout"},
	{"14 guesses during a lockout", "limit.go", `if t.spent > reserveMax-1 {`, `if false {`, "TestLockoutBounds"},
	{"14 the reserve of all others", "limit.go", `if v.weighed = v.retryAfter == 0; !v.weighed {
		return v
	}
	for _, t := range locked {
		t.spent++
	}`, `for _, t := range locked {
		t.spent++
	}
	if v.weighed = v.retryAfter == 0; !v.weighed {
		return v
	}`, "TestTheReserve"},
	{"25 pages that name themselves otherwise", "door.go", `if !d.originAllowed(`, `if browser && !d.originAllowed(`, "TestConnectRefuses"},
	{"26 what is no origin", "door.go", ` || u.Scheme+"://"+u.Host != origin`, ``, "TestOriginAllowed"},
	{"27 another port", "door.go", ` && originPort == hostPort`, ``, "TestOriginAllowed"},
	{"28 a name that was rebound", "door.go", `return d.hosts[name] || d.ownName(name)`, `return true`, "TestHostAllowed"},
	{"28 rules that became stricter meanwhile", "events.go", `if grant.rules != g.door().rules {`, `if false {`, "TestSetEntry"},
	{"28 another name of the tailnet", "tailnet.go", `return ok && name == self.Name
}

// servedUser`, `_ = self
	return ok
}

// servedUser`, "TestOwnMagicDNS"},
	{"34 another address", "proxy.go", `remote.IsLoopback() && !o.behind && loopbackName(host)`, `!o.behind && loopbackName(host)`, "TestConnectAsks"},
	{"34 a proxy's header", "proxy.go", `&& !o.behind && loopbackName(host)`, `&& loopbackName(host)`, "TestConnectAsks"},
	{"34 another name", "proxy.go", `!o.behind && loopbackName(host)`, `!o.behind`, "TestConnectAsks"},
	{"34 headers of every kind", "door.go", `case "forwarded", "via",`, `case`, "TestConnectAsks"},
	{"34 headers of content networks", "door.go", `"cf-", `, ``, "TestConnectAsks"},
	{"36 a proxy that does not tell, with the secret", "pairing.go", "if c.origin.unattributed {\n\t\t\tasked", "if false {\n\t\t\tasked", "TestConfiguredProxy"},
	{"36 a proxy that does not tell, with a token", "pairing.go", "if c.origin.unattributed {\n\t\treturn", "if false {\n\t\treturn", "TestConfiguredProxy"},
	{"36 a proxy that does not tell, without device", "connect.go", `if c.origin.unattributed {`, `if false {`, "TestConfiguredProxy"},
	{"37 the first value", "proxy.go", `if !d.isProxy(addr) || !more {`, `if !more {`, "TestForwardedFor"},
	{"37 two values", "proxy.go", `return s != lines[0]`, `return false`, "TestForwardedFor"},
	{"37 this host named by a proxy", "proxy.go", `o := origin{addr: client,`, `o := origin{local: client.IsLoopback() && loopbackName(host), addr: client,`, "TestConfiguredProxy"},
	{"38 a user from elsewhere", "proxy.go", `!d.believes(remote.Unmap().WithZone(""), h)`, `false`, "TestTrustedProxyMode"},
	{"38 another node of the tailnet", "tailnet.go", `if !ok || !self.Has(remote) {`, `if !ok {`, "TestOwnTailnetAddress"},
	{"38 the tailnet address by another name", "tailnet.go", `(name == "localhost" || name == self.Name)`, `true`, "TestOwnTailnetAddress"},
	{"38 a proxy on the tailnet address", "proxy.go", `!o.behind && d.ownTailnet(remote, host)`, `d.ownTailnet(remote, host)`, "TestOwnTailnetAddress"},
	{"38 Tailscale's header without the setting", "secret.go", `if g.served && !c.origin.local {`, `if !c.origin.local {`, "TestServedUsers"},
	{"38 Tailscale's header from elsewhere", "tailnet.go", ` || !a.RemoteAddr.Addr().Unmap().IsLoopback()`, ``, "TestServedUsers"},
	{"38 a login that tailscaled does not confirm", "tailnet.go", ` || !strings.EqualFold(claimed, login)`, ``, "TestServedUsers"},
	{"38 an address that tailscaled does not know", "tailnet.go", `if err != nil {
		return missing(protocol.DetailAuthTailscaleWhoisFailed`, `if err != nil {
		return claimed, from, nil
		return missing(protocol.DetailAuthTailscaleWhoisFailed`, "TestServedUsers"},
	{"38 a program that plays Tailscale Serve", "tailnet.go", ` || d.tailnet.CalledBy(a.RemoteAddr, a.LocalAddr) != nil`, ``, "TestServedUsers"},
	{"39 a program that plays the proxy", "proxy.go", `d.proof.header == "" || d.proof.given(h))`, `true)`, "TestProxySecret"},
	{"39 a proxy that does not prove itself is not local", "proxy.go", `behind: forwarded(h) || d.isProxy(remote)}`, `behind: forwarded(h)}`, "TestProxySecret"},
	{"42 rotation beyond what is approved", "decisions.go", `within(a.Scopes, grantable(role, scopes))`, `grantable(role, scopes)`, "TestRotateAndRevoke"},
	{"42 another's token", "decisions.go", `text = ""`, ``, "TestRotateAndRevoke"},
	{"43 grants beyond the approver's scopes", "actor.go", "return a.holds(scopes)\n", "return nil\n", "TestADeviceDecides"},
	{"43 decisions about who holds more", "actor.go", "return a.holds(held)\n", "return nil\n", "TestWhoMayDecide"},
	{"44 another's device", "actor.go", `case !a.Peer.BySecret:`, `case false:`, "TestWhoMayDecide"},
	{"45 a role of its own making", "actor.go", `a.Peer.DeviceID == deviceID && !hasRole`, `false`, "TestADeviceDecides"},
	{"46 a signature without challenge", "connect.go", `if !g.legacy || !c.origin.local {`, `if !c.origin.local {`, "TestConnectRefuses"},
	{"46 a replay without challenge", "connect.go", `if nonce == "" && !g.replays.use(`, `if false && !g.replays.use(`, "TestLegacySignatures"},
	{"47 a replay", "connect.go", `nonce != c.nonce`, `false`, "TestSignatureCovers"},
	{"47 an old signature", "connect.go", `if skewed(c.device.SignedAt, skewMax) {`, `if false {`, "TestSkew"},
	{"47 no signature", "connect.go", `!signed(signedText(c, nonce)) &&`, `false &&`, "TestConnectRefuses"},
	{"48 another kind of machine", "kind.go", `if k == (kind{}) {`, `if true {`, "TestKindIsPinned"},
	{"49 a separator in a scope", "connect.go", `if ambiguous ||`, `if ambiguous && false ||`, "TestConnectRefuses"},
	{"49 a separator in a platform", "key.go", ` || strings.Contains(platform+family, "|")`, ``, "TestThirdForm"},
	{"50 points of small order", "key.go", `MultByCofactor(point).Equal(identity) == 1 {
		return errKeySmallOrder`, `MultByCofactor(point).Equal(identity) == 1 {
		return nil`, "TestSmallOrderKeysAreRefused"},
	{"50 points of mixed order", "key.go", `Equal(identity) != 1 {`, `Equal(identity) > 1 {`, "TestMixedOrderKeysAreRefused"},
	{"50 two encodings of a point", "key.go", `if !bytes.Equal(point.Bytes(), raw) {`, `if false && !bytes.Equal(point.Bytes(), raw) {`, "TestNonCanonicalKeysAreRefused"},
	{"51 connections of a removed device", "decisions.go", `g.events.AuthorityChanged(deviceID, "")`, ``, "TestRejectRemove"},
	{"51 connections of a revoked token", "decisions.go", "revoked\", \"deviceId\", deviceID, \"role\", role, \"by\", by.name())\n\tg.took()\n\tg.events.AuthorityChanged(deviceID, role)", "revoked\")\n\tg.took()", "TestRotateAndRevoke"},
	{"51 connections of a rotated token", "decisions.go", "rotated\", \"deviceId\", deviceID, \"role\", role, \"by\", by.name())\n\tg.took()\n\tg.events.AuthorityChanged(deviceID, role)", "rotated\")\n\tg.took()", "TestRotateAndRevoke"},
	{"51 a grant that was overtaken", "events.go", `g.taken.Add(1)`, ``, "TestHolds"},
	{"51 who lost the authority to decide", "actor.go", `if !d.approves(a.Peer.Role, a.Peer.Scopes) {`, `if !d.approves(a.Peer.Role, a.Peer.Scopes) && false {`, "TestAuthorityIsLookedUp"},
	{"52 local without being local", "connect.go", `return c.origin.local && c.proof.bySecret`, `return c.proof.bySecret`, "TestConnectAsks"},
	{"53 a node without device", "connect.go", `case !c.proof.ok || c.role == protocol.RoleNode:`, `case !c.proof.ok:`, "TestConnectRefuses"},
	{"54 a node with scopes", "connect.go", `if role == protocol.RoleNode {`, `if false {`, "TestConnectPairs"},
	{"55 many requests", "pairing.go", `left >= pendingMax;`, `left >= 10*pendingMax;`, "TestRequestsAreCapped"},
	{"55 many requests of one device", "pairing.go", `if len(own) >= pendingPerDeviceMax {`, `if false {`, "TestRequestsAreCapped"},
	{"55 old requests", "pairing.go", `return now-r.Ts >= pendingTTL.Milliseconds()`, `return false`, "TestExpiredRequests"},
	{"43 nodes beyond the approver's scopes", "nodes.go", `if err := by.mayGrant(p.NodeID, protocol.RoleNode, nodeScopes(p.Commands), false); err != nil {`, `if false {`, "TestWhoMayDecideAboutNodes"},
	{"43 nodes that reach into a machine", "nodes.go", `scopes = append(scopes, protocol.ScopeOperatorAdmin)`, ``, "TestWhoMayDecideAboutNodes"},
	{"55 many requests of nodes", "nodes.go", `i < pendingMax-1 &&`, `i < 10*pendingMax &&`, "TestNodeRequestsAreCapped"},
	{"55 old requests of nodes", "nodes.go", `return now-r.Ts >= pendingTTL.Milliseconds()`, `return false`, "TestNodeRequestsAreCapped"},
	{"56 a node's token on disk", "nodes.go", `TokenSHA256: tokenHash(token), CreatedAtMs`, `TokenSHA256: token, CreatedAtMs`, "TestNodeIsPaired"},
	{"56 a node's token that is guessed", "nodes.go", `[]byte(tokenHash(token))) != 1 {`, `[]byte(tokenHash(token))) > 1 {`, "TestNodeIsPaired"},
	{"56 tokens in the store", "device.go", "\tsum := sha256.Sum256([]byte(text))\n\treturn hex.EncodeToString(sum[:])", "\t_, _ = sha256.Sum256, hex.EncodeToString\n\treturn text", "TestSecretsStayOutOfTheLogAndTheStore"},
	{"59 another's id", "connect.go", `if c.device.ID != id {`, `if false {`, "TestConnectRefuses"},
	{"102 guesses over HTTP", "secret.go", `v := g.limiter.judge(source{kind: sharedCredential, from: addressSource(addr)}, g.secret.Load().matches(secret))`, `v := verdict{right: g.secret.Load().matches(secret), weighed: true}`, "TestBearerCheck"},
	{"102 the right secret among too many", "limit.go", `if v.weighed = v.retryAfter == 0; !v.weighed {`, `if v.weighed = v.retryAfter == 0; !v.weighed && !right {`, "TestBearerCheck"},
	{"104 failures that are free", "limit.go", "l.failLocked(s, now)\n\t}\n\treturn v", "}\n\treturn v", "TestBearerCheck"},
}

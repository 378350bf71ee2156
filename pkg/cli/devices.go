package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
)

const (
	// idShown is how much of a device id a table shows.
	idShown = 12
	// prefixMin is the shortest part of an id that names it. Request ids can be
	// sought by whoever makes keys, so a very short one would not be a choice.
	prefixMin = 4
)

const devicesHelp = `While a gateway runs on this state directory, these commands go through it; while none
runs, they work on the state directory itself. So a device can always be approved, also
when nothing can connect. --verbose tells which way it went.

An id may be shortened to its first characters, four at least, as long as one thing bears it.

coderclaw devices list
coderclaw devices approve 3f2a9c1e`

func (a *App) devicesCommand() *cli.Command {
	return &cli.Command{
		Name: "devices", Category: categorySecurity,
		Usage:       "list the paired devices, approve new ones, take their authority away",
		Description: devicesHelp,
		Subcommands: []*cli.Command{
			a.deviceCommand("list", "list what asks to be paired and what is paired", "", 0, nil, a.listDevices),
			a.deviceCommand("approve", "grant what a device asks for", "REQUEST", 1, pendingIDs, a.approveDevice),
			a.deviceCommand("reject", "refuse what a device asks for; it may ask again", "REQUEST", 1, pendingIDs, a.rejectDevice),
			a.deviceCommand("rename", "give a device a name that it cannot change itself; \"\" lets it name itself again", "DEVICE NAME", 2, pairedIDs, a.renameDevice),
			a.asking(a.deviceCommand("remove", "forget a device, its tokens and what it asks for", "DEVICE", 1, pairedIDs, a.removeDevice,
				&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, DisableDefaultText: true, Usage: "do not ask first"})),
			a.deviceCommand("rotate", "replace all tokens of a device by a new one", "DEVICE", 1, pairedIDs, a.rotateDevice, roleFlag(),
				&cli.StringFlag{Name: "scopes", Usage: "`SCOPES` of the new token, with commas between (default: all that are approved)"}),
			a.deviceCommand("revoke", "end all tokens of a device; it stays paired and gets a new one with the gateway's secret", "DEVICE", 1, pairedIDs, a.revokeDevice, roleFlag()),
		},
	}
}

func roleFlag() cli.Flag {
	return &cli.StringFlag{Name: "role", Usage: "`ROLE` of the tokens: operator or node (default: the device's only one)"}
}

// deviceCommand makes a subcommand that takes n arguments and works at a desk.
// candidates, which may be nil, are what completion offers for the first argument.
func (a *App) deviceCommand(name, usage, args string, n int, candidates func(protocol.DevicePairListResult) []string, run func(context.Context, *cli.Context, desk) error, flags ...cli.Flag) *cli.Command {
	cmd := &cli.Command{
		Name: name, Usage: usage, ArgsUsage: args, UsageText: strings.TrimSpace("coderclaw devices " + name + " " + args),
		Flags: append(flags, &cli.BoolFlag{Name: "verbose", DisableDefaultText: true, Usage: "say whether the gateway or the state directory was asked"}),
		Action: func(c *cli.Context) error {
			if c.NArg() != n {
				return usagef("devices %s takes %s, got %s; see: coderclaw devices %s --help", name, orNothing(args), count(int64(c.NArg()), "argument", "arguments"), name)
			}
			limit, err := timeout(c, askTimeout)
			if err != nil {
				return err
			}
			return a.atDesk(c, limit, func(ctx context.Context, d desk) error {
				if via, where := d.way(); c.Bool("verbose") {
					a.out.note("through the %s: %s", via, where)
				}
				return run(ctx, c, d)
			})
		},
	}
	if candidates != nil {
		cmd.BashComplete = func(c *cli.Context) { a.completeDevices(c, candidates) }
	}
	return cmd
}

func orNothing(args string) string {
	if args == "" {
		return "no argument"
	}
	return args
}

func (a *App) atDesk(c *cli.Context, limit time.Duration, fn func(context.Context, desk) error) error {
	ctx, cancel := within(c.Context, limit)
	defer cancel()
	d, err := a.openDesk(ctx, c)
	if err != nil {
		return err
	}
	err = fn(ctx, d)
	if closeErr := d.close(); err == nil && closeErr != nil {
		var closed *client.CloseError // the gateway may have closed first: it took this device's own authority
		if !errors.As(closeErr, &closed) {
			err = closeErr
		}
	}
	return err
}

// completeDevices offers ids. A shell that waits for them gets none rather than an
// error.
func (a *App) completeDevices(c *cli.Context, candidates func(protocol.DevicePairListResult) []string) {
	if c.NArg() > 0 {
		return
	}
	_ = a.atDesk(c, 2*time.Second, func(ctx context.Context, d desk) error {
		list, err := d.list(ctx)
		for _, id := range candidates(list) {
			a.out.printf("%s\n", id)
		}
		return err
	})
}

func pendingIDs(list protocol.DevicePairListResult) (ids []string) {
	for _, p := range list.Pending {
		ids = append(ids, p.RequestID)
	}
	return ids
}

func pairedIDs(list protocol.DevicePairListResult) (ids []string) {
	for _, d := range list.Paired {
		ids = append(ids, d.DeviceID)
	}
	return ids
}

func (a *App) listDevices(ctx context.Context, _ *cli.Context, d desk) error {
	list, err := d.list(ctx)
	if err != nil {
		return err
	}
	if a.out.json {
		via, _ := d.way()
		return a.out.line(map[string]any{"via": via, "pending": list.Pending, "paired": list.Paired})
	}
	if len(list.Pending)+len(list.Paired) == 0 {
		a.out.note("no device is paired and none asks to be")
		return nil
	}
	if len(list.Pending) > 0 {
		rows := make([][]string, 0, len(list.Pending))
		for _, p := range list.Pending {
			what := "new device"
			if p.IsRepair.Or(false) {
				what = "wants more"
			}
			rows = append(rows, []string{p.RequestID, shortID(p.DeviceID), p.DisplayName.Or(""), p.Platform.Or(""), p.Role.Or(""), short(p.Scopes), p.RemoteIP.Or("this host"), ago(p.Ts), what})
		}
		if err := a.out.table([]string{"REQUEST", "DEVICE", "NAME", "PLATFORM", "ROLE", "SCOPES", "FROM", "ASKED", "WHAT"}, rows); err != nil {
			return err
		}
		a.out.note("approve one with: coderclaw devices approve REQUEST")
	}
	if len(list.Paired) == 0 {
		return nil
	}
	if len(list.Pending) > 0 {
		a.out.printf("\n")
	}
	rows := make([][]string, 0, len(list.Paired))
	for _, p := range list.Paired {
		rows = append(rows, []string{shortID(p.DeviceID), p.DisplayName.Or(""), p.Platform.Or(""), strings.Join(p.Roles, ","), short(p.Scopes), tokensLine(p.Tokens), ago(p.ApprovedAtMs), ago(p.LastSeenAtMs.Or(0))})
	}
	return a.out.table([]string{"DEVICE", "NAME", "PLATFORM", "ROLES", "SCOPES", "TOKENS", "APPROVED", "SEEN"}, rows)
}

// tokensLine says what is the matter with a device's tokens, role by role.
func tokensLine(tokens []protocol.DeviceToken) string {
	var parts []string
	for _, t := range tokens {
		if ms, ok := t.RevokedAtMs.Get(); ok {
			parts = append(parts, "revoked "+ago(ms))
			continue
		}
		if ms, ok := t.LastUsedAtMs.Get(); ok {
			parts = append(parts, "used "+ago(ms))
			continue
		}
		parts = append(parts, "unused")
	}
	return strings.Join(parts, ", ")
}

// short lists scopes without the word that they share.
func short(scopes []string) string {
	out := make([]string, len(scopes))
	for i, scope := range scopes {
		out[i] = strings.TrimPrefix(scope, protocol.RoleOperator+".")
	}
	return strings.Join(out, ",")
}

func shortID(id string) string { return id[:min(len(id), idShown)] }

func (a *App) approveDevice(ctx context.Context, c *cli.Context, d desk) error {
	p, err := findRequest(ctx, d, c.Args().First())
	if err != nil {
		return err
	}
	device, err := d.approve(ctx, p.RequestID)
	if err != nil {
		return err
	}
	return a.decided(d, map[string]any{"requestId": p.RequestID, "device": device},
		"%s is approved as %s with %s", deviceName(p.DeviceID, p.DisplayName.Or("")), p.Role.Or(""), scopesLine(p.Scopes))
}

func (a *App) rejectDevice(ctx context.Context, c *cli.Context, d desk) error {
	p, err := findRequest(ctx, d, c.Args().First())
	if err != nil {
		return err
	}
	if err := d.reject(ctx, p.RequestID); err != nil {
		return err
	}
	return a.decided(d, map[string]any{"requestId": p.RequestID, "deviceId": p.DeviceID},
		"the request of %s is rejected", deviceName(p.DeviceID, p.DisplayName.Or("")))
}

func (a *App) renameDevice(ctx context.Context, c *cli.Context, d desk) error {
	p, err := findDevice(ctx, d, c.Args().First())
	if err != nil {
		return err
	}
	device, err := d.rename(ctx, p.DeviceID, c.Args().Get(1))
	if err != nil {
		return err
	}
	return a.decided(d, map[string]any{"device": device}, "the device is now called %s", deviceName(device.DeviceID, device.DisplayName.Or("")))
}

// asking has a person on a terminal confirm what cmd will do to a device. Neither the
// store nor a connection is held meanwhile.
func (a *App) asking(cmd *cli.Command) *cli.Command {
	do := cmd.Action
	cmd.Action = func(c *cli.Context) error {
		if c.NArg() != 1 || c.Bool("yes") || !isTerminal(a.Stdin) || !a.out.errIsTTY {
			return do(c)
		}
		var p protocol.PairedDevice
		err := a.atDesk(c, askTimeout, func(ctx context.Context, d desk) (err error) {
			p, err = findDevice(ctx, d, c.Args().First())
			return err
		})
		if err != nil {
			return err
		}
		if !a.confirm("%s %s, last seen %s?", cmd.Name, deviceName(p.DeviceID, p.DisplayName.Or("")), ago(p.LastSeenAtMs.Or(0))) {
			return errors.New("nothing was done")
		}
		return do(c)
	}
	return cmd
}

func (a *App) removeDevice(ctx context.Context, c *cli.Context, d desk) error {
	p, err := findDevice(ctx, d, c.Args().First())
	if err != nil {
		return err
	}
	if err := d.remove(ctx, p.DeviceID); err != nil {
		return err
	}
	return a.decided(d, map[string]any{"deviceId": p.DeviceID}, "%s is removed; to connect again it must be paired again", deviceName(p.DeviceID, p.DisplayName.Or("")))
}

func (a *App) rotateDevice(ctx context.Context, c *cli.Context, d desk) error {
	p, role, err := findRole(ctx, c, d)
	if err != nil {
		return err
	}
	var scopes []string
	if c.IsSet("scopes") {
		for scope := range strings.SplitSeq(c.String("scopes"), ",") {
			if scope = strings.TrimSpace(scope); scope != "" {
				scopes = append(scopes, scope)
			}
		}
		if scopes == nil {
			return usagef("--scopes names no scope; leave it out for all that are approved")
		}
	}
	r, err := d.rotate(ctx, p.DeviceID, role, scopes)
	if err != nil {
		return err
	}
	kept := a.keepRotated(c, r)
	if a.out.json {
		via, _ := d.way()
		return a.out.line(map[string]any{"via": via, "deviceId": r.DeviceID, "role": r.Role, "scopes": r.Scopes, "rotatedAtMs": r.RotatedAtMs, "token": r.Token.V, "kept": kept})
	}
	a.out.note("the tokens of %s as %s are replaced; the new one carries %s", deviceName(p.DeviceID, p.DisplayName.Or("")), role, scopesLine(r.Scopes))
	switch token, told := r.Token.Get(); {
	case kept:
		a.out.note("it is stored for this command")
	case told:
		a.out.note("this is the only time it is shown:")
		a.out.printf("%s\n", token)
	default:
		a.out.note("the device learns its new token when it connects with the gateway's secret")
	}
	return nil
}

// keepRotated stores a token that is this command's own and reports whether it was.
func (a *App) keepRotated(c *cli.Context, r protocol.DeviceTokenRotateResult) bool {
	token, ok := r.Token.Get()
	if !ok {
		return false
	}
	t, err := a.target(c)
	if err != nil {
		return false
	}
	o, err := a.options(c, t)
	if err != nil || o.Identity.DeviceID != r.DeviceID || o.Role != r.Role {
		return false
	}
	addr, err := client.ParseAddress(t.url)
	return err == nil && o.Tokens.Put(addr.Origin(), r.Role, token, r.Scopes) == nil
}

func (a *App) revokeDevice(ctx context.Context, c *cli.Context, d desk) error {
	p, role, err := findRole(ctx, c, d)
	if err != nil {
		return err
	}
	r, err := d.revoke(ctx, p.DeviceID, role)
	if err != nil {
		return err
	}
	return a.decided(d, map[string]any{"deviceId": r.DeviceID, "role": r.Role, "revokedAtMs": r.RevokedAtMs},
		"the tokens of %s as %s are revoked", deviceName(p.DeviceID, p.DisplayName.Or("")), role)
}

// decided tells what a command has done.
func (a *App) decided(d desk, result map[string]any, format string, args ...any) error {
	if a.out.json {
		result["via"], _ = d.way()
		return a.out.line(result)
	}
	a.out.printf("%s\n", clean(fmt.Sprintf(format, args...)))
	return nil
}

// confirm asks on the terminal and reports whether the answer was yes.
func (a *App) confirm(format string, args ...any) bool {
	fmt.Fprintf(a.Stderr, "%s [y/N] ", clean(fmt.Sprintf(format, args...)))
	answer, _ := bufio.NewReader(a.Stdin).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

func deviceName(id, name string) string {
	if name == "" {
		return "device " + shortID(id)
	}
	return fmt.Sprintf("%s (%s)", name, shortID(id))
}

func scopesLine(scopes []string) string {
	if len(scopes) == 0 {
		return "no scope"
	}
	return strings.Join(scopes, ", ")
}

func findRequest(ctx context.Context, d desk, prefix string) (p protocol.DevicePairRequestedEvent, err error) {
	list, err := d.list(ctx)
	if err != nil {
		return p, err
	}
	i, err := findID(pendingIDs(list), prefix, "request")
	if err != nil {
		return p, err
	}
	if i < 0 {
		return p, withHint(fmt.Errorf("no request begins with %q", prefix), "a request waits five minutes: have the device connect again, then see: coderclaw devices list")
	}
	return list.Pending[i], nil
}

func findDevice(ctx context.Context, d desk, prefix string) (p protocol.PairedDevice, err error) {
	list, err := d.list(ctx)
	if err != nil {
		return p, err
	}
	i, err := findID(pairedIDs(list), prefix, "device")
	if err != nil {
		return p, err
	}
	if i < 0 {
		return p, withHint(fmt.Errorf("no paired device begins with %q", prefix), "see: coderclaw devices list")
	}
	return list.Paired[i], nil
}

// findRole finds a device and the role that --role names, or its only one.
func findRole(ctx context.Context, c *cli.Context, d desk) (protocol.PairedDevice, string, error) {
	p, err := findDevice(ctx, d, c.Args().First())
	role := c.String("role")
	switch {
	case err != nil:
	case role == "" && len(p.Roles) == 1:
		role = p.Roles[0]
	case role == "":
		err = usagef("the device has the roles %s: choose one with --role", strings.Join(p.Roles, ", "))
	case !slices.Contains(p.Roles, role):
		err = usagef("--role %q: the device has %s", role, strings.Join(p.Roles, ", "))
	}
	return p, role, err
}

// findID returns the index of the id that begins with prefix, -1 when there is none.
func findID(ids []string, prefix, what string) (int, error) {
	prefix = strings.ToLower(strings.TrimSpace(prefix))
	found := -1
	for i, id := range ids {
		switch {
		case strings.ToLower(id) == prefix:
			return i, nil
		case !strings.HasPrefix(strings.ToLower(id), prefix):
		case len(prefix) < prefixMin:
			return -1, usagef("%q is too short for a %s: give at least %d characters of its id", prefix, what, prefixMin)
		case found >= 0:
			return -1, usagef("%q is more than one %s: %s and %s; give more of the id", prefix, what, ids[found], id)
		default:
			found = i
		}
	}
	return found, nil
}

package store_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/store"
)

// A commit writes its pages, syncs, writes a meta page and syncs. The images below
// are what a power cut may leave of a gateway's database: legal ones where the disk
// keeps to that order, reordered ones where it does not.

const (
	sector = 512
	pages  = 4096
)

// history is a gateway.db before and after each of some commits, with the number of
// messages it had then.
type history struct {
	images [][]byte
	counts []int
}

func tables() []store.Table { return slices.Concat(session.Tables(), audit.Tables()) }

// record makes commits as a gateway does: messages of all sizes, audit records, resets.
func record(t *testing.T, commits int) history {
	dir := t.TempDir()
	db, err := store.Open(store.Options{Dir: dir})
	require.NoError(t, err)
	sessions, err := session.New(session.Config{DB: db})
	require.NoError(t, err)
	log, err := audit.New(audit.Config{DB: db})
	require.NoError(t, err)
	r := rand.New(rand.NewSource(7))
	for i := range 60 { // enough for branch pages
		_, _, err := sessions.Append(t.Context(), fmt.Sprint("s", i%7), nil, session.Message{Role: "user", Text: strings.Repeat("x", r.Intn(3000))})
		require.NoError(t, err)
	}
	var h history
	shoot := func(n int) {
		image, err := os.ReadFile(db.Path())
		require.NoError(t, err)
		image = image[:len(image)-len(image)%pages] // what bbolt allocates ahead is empty
		for len(image) > 2*pages && bytes.Count(image[len(image)-pages:], []byte{0}) == pages {
			image = image[:len(image)-pages]
		}
		h.images, h.counts = append(h.images, image), append(h.counts, n)
	}
	shoot(0)
	for i := range commits {
		_, _, err := sessions.Append(t.Context(), "torn", func(e *session.Entry) { e.InputTokens = int64(i + 1) },
			session.Message{Role: "user", Text: strings.Repeat("q", r.Intn(9000))}, session.Message{Role: "assistant", Text: strings.Repeat("a", r.Intn(200))})
		require.NoError(t, err)
		shoot(i + 1)
		if i%3 == 0 { // frees pages, so that later commits reuse some
			_, err = sessions.Reset(t.Context(), "s1")
			require.NoError(t, err)
			shoot(i + 1)
			require.NoError(t, log.Append(t.Context(), audit.Record{Action: audit.ActionConnect, Decision: audit.Allowed, Actor: "a"}))
			shoot(i + 1)
		}
	}
	require.NoError(t, db.Close())
	return h
}

// mix makes an image between two: for each sector that differs, keep says whether the
// new one arrived. The meta pages are old unless newMeta.
func mix(old, new []byte, newMeta bool, keep func(page int) bool, tear *rand.Rand) []byte {
	n := max(len(old), len(new))
	old, new = pad(old, n), pad(new, n)
	out, padded := bytes.Clone(new), old
	for p := 0; p < len(new)/pages; p++ {
		at := p * pages
		switch {
		case p < 2:
			if !newMeta {
				copy(out[at:at+pages], padded[at:])
			}
		case !keep(p):
			copy(out[at:at+pages], padded[at:])
		case tear != nil && tear.Intn(4) == 0: // torn: only the first sectors arrived
			cut := (1 + tear.Intn(pages/sector-1)) * sector
			copy(out[at+cut:at+pages], padded[at+cut:])
		}
	}
	return out
}

// pad fills an image up with empty pages.
func pad(image []byte, n int) []byte {
	return append(bytes.Clone(image), make([]byte, n-len(image))...)
}

// tearMeta is new with a meta page of which only a part arrived.
func tearMeta(old, new []byte) []byte {
	out := bytes.Clone(new)
	for p := range 2 {
		if m := new[p*pages : (p+1)*pages]; !bytes.Equal(m, old[p*pages:(p+1)*pages]) {
			copy(out[p*pages+48:(p+1)*pages], old[p*pages+48:(p+1)*pages])
		}
	}
	return out
}

// count reads the state of a database through its owner.
func count(t *testing.T, dir string, verify store.Verify, log *bytes.Buffer) (int, error) {
	db, err := store.Open(store.Options{Dir: dir, Verify: verify, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		return 0, err
	}
	sessions, err := session.New(session.Config{DB: db})
	require.NoError(t, err)
	e, _, err := sessions.Get("torn")
	require.NoError(t, err)
	list, err := sessions.History("torn", 0)
	require.NoError(t, err)
	require.Len(t, list, 2*int(e.InputTokens), "the entry and the transcript are of one state")
	if e.InputTokens%3 == 0 { // and it can be written
		_, _, err = sessions.Append(t.Context(), "after", nil, session.Message{Role: "user", Text: "after the crash"})
		require.NoError(t, err)
	}
	return int(e.InputTokens), db.Close()
}

// commits is how many commits the images are made from: SOAK makes more.
func commits() int {
	if os.Getenv("SOAK") != "" {
		return 24
	}
	return 3
}

func place(t *testing.T, image []byte) string {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, store.FileName), image, 0o600))
	return dir
}

func TestEveryLegalCrashImageOpensAtTheOldOrNewState(t *testing.T) {
	h := record(t, commits())
	r := rand.New(rand.NewSource(1))
	images, repaired := 0, 0
	for i := 1; i < len(h.images); i++ {
		old, new := h.images[i-1], h.images[i]
		for m := range 9 {
			image := mix(old, new, false, func(int) bool { return r.Intn(2) == 0 }, r)
			want := h.counts[i-1]
			if m%9 == 0 { // all data, and a torn meta page
				image = tearMeta(old, new)
			}
			var log bytes.Buffer
			got, err := count(t, place(t, image), store.Here(tables()...), &log)
			require.NoError(t, err, "commit %d mix %d", i, m)
			require.Equal(t, want, got, "commit %d mix %d", i, m)
			if strings.Contains(log.String(), "was damaged") {
				repaired++
			}
			images++
		}
	}
	require.Zero(t, repaired, "no legal image counts as damaged")
	t.Logf("%d legal images", images)
}

func TestReorderedCrashImagesAreFoundOrMended(t *testing.T) {
	h := record(t, commits())
	r := rand.New(rand.NewSource(2))
	var whole, mended, refused, stale int
	for i := 1; i < len(h.images); i++ {
		for range 6 {
			image := mix(h.images[i-1], h.images[i], true, func(int) bool { return r.Intn(2) == 0 }, nil)
			dir := place(t, image)
			var log bytes.Buffer
			got, err := tolerant(t, dir, store.Here(tables()...), &log)
			var damaged *store.DamagedError
			switch {
			case errors.As(err, &damaged):
				refused++
				same, err := os.ReadFile(filepath.Join(dir, store.FileName))
				require.NoError(t, err)
				require.Equal(t, image, same, "a refused file is left as it is")
			case strings.Contains(log.String(), "went back by one transaction"):
				require.NoError(t, err)
				require.Equal(t, h.counts[i-1], got, "commit %d", i)
				kept, err := filepath.Glob(filepath.Join(dir, store.FileName+".corrupt-*"))
				require.NoError(t, err)
				require.Len(t, kept, 1)
				same, err := os.ReadFile(kept[0])
				require.NoError(t, err)
				require.Equal(t, image, same, "the damaged file is kept")
				mended++
			case err == nil && (got == h.counts[i] || got == h.counts[i-1]):
				whole++
			default:
				// A page that kept its old content, and that content fits: nothing in the
				// file can tell. It opens, it does not crash, its rows decode.
				stale++
			}
		}
	}
	t.Logf("%d whole, %d mended, %d refused, %d with a stale page that nothing shows", whole, mended, refused, stale)
	require.Zero(t, refused, "one transaction back is always there in these images")
	require.Greater(t, mended, whole+stale, "most are found")
}

// tolerant is count for a file whose rows may be of two states.
func tolerant(t *testing.T, dir string, verify store.Verify, log *bytes.Buffer) (int, error) {
	db, err := store.Open(store.Options{Dir: dir, Verify: verify, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		return 0, err
	}
	sessions, err := session.New(session.Config{DB: db})
	require.NoError(t, err)
	e, _, err := sessions.Get("torn")
	require.NoError(t, err)
	list, err := sessions.History("torn", 0)
	require.NoError(t, err)
	if len(list) != 2*int(e.InputTokens) {
		return -1, db.Close()
	}
	return int(e.InputTokens), db.Close()
}

// child runs this test program as the checking child.
func child() store.Verify { return store.Self("check-child") }

func TestDamagedDatabaseIsMendedThroughTheChild(t *testing.T) {
	h := record(t, 4)
	last := len(h.images) - 1
	var lost []byte // a meta page whose data never arrived, and it shows
	for i := last; i > 0; i-- {
		lost = mix(h.images[i-1], h.images[i], true, func(int) bool { return false }, nil)
		if r, err := store.CheckFile(filepath.Join(place(t, lost), store.FileName), nil); err == nil && !r.Sound() {
			last = i
			break
		}
	}
	t.Run("by its last transaction", func(t *testing.T) {
		var log bytes.Buffer
		got, err := count(t, place(t, lost), child(), &log)
		require.NoError(t, err)
		require.Equal(t, h.counts[last-1], got)
		require.Contains(t, log.String(), "not closed in order")
		require.Contains(t, log.String(), "went back by one transaction")
	})
	t.Run("by the newest backup that is whole", func(t *testing.T) {
		dir := place(t, wreck(h.images[last]))
		backups := filepath.Join(dir, store.BackupsDir)
		require.NoError(t, os.Mkdir(backups, 0o700))
		for name, image := range map[string][]byte{
			"gateway-20260101T000000.000Z-daily.db": h.images[0],
			"gateway-20260102T000000.000Z-daily.db": h.images[last],
			"gateway-20260103T000000.000Z-daily.db": wreck(h.images[last]),
		} {
			require.NoError(t, os.WriteFile(filepath.Join(backups, name), image, 0o600))
		}
		var log bytes.Buffer
		got, err := count(t, dir, child(), &log)
		require.NoError(t, err, log.String())
		require.Equal(t, h.counts[last], got)
		require.Contains(t, log.String(), "backup is damaged too")
		require.Contains(t, log.String(), "went back to the last good backup")
	})
	t.Run("by nothing", func(t *testing.T) {
		dir := place(t, wreck(h.images[last]))
		_, err := count(t, dir, child(), new(bytes.Buffer))
		var damaged *store.DamagedError
		require.ErrorAs(t, err, &damaged)
		require.ErrorContains(t, err, "coderclaw restore FILE")
		require.ErrorContains(t, err, "paired devices, sessions, transcripts")
		same, err := os.ReadFile(filepath.Join(dir, store.FileName))
		require.NoError(t, err)
		require.Equal(t, wreck(h.images[last]), same, "nothing was touched")
		left, err := filepath.Glob(filepath.Join(dir, "*.candidate*"))
		require.NoError(t, err)
		require.Empty(t, left)
	})
}

// wreck overwrites everything behind the meta pages.
func wreck(image []byte) []byte {
	out := bytes.Clone(image)
	for i := 2 * pages; i < len(out); i++ {
		out[i] = byte(i * 7)
	}
	return out
}

// A page that leads back to itself must end the check, not the machine's memory.
func TestCheckEndsOnACircle(t *testing.T) {
	h := record(t, 1)
	image := h.images[len(h.images)-1]
	changed := false
	for p := 2; p < len(image)/pages; p++ {
		page := image[p*pages : (p+1)*pages]
		if binary.NativeEndian.Uint16(page[8:]) == 1 && binary.NativeEndian.Uint16(page[10:]) > 0 {
			binary.NativeEndian.PutUint64(page[16+8:], uint64(p)) // its first child is itself
			changed = true
		}
	}
	require.True(t, changed, "the image has branch pages")
	dir := place(t, image)
	r, err := child()(t.Context(), filepath.Join(dir, store.FileName))
	require.NoError(t, err)
	require.False(t, r.Sound())
	require.Contains(t, r.Summary(), "used twice")
}

func TestCheckOfACutOffFile(t *testing.T) {
	h := record(t, 1)
	image := h.images[len(h.images)-1]
	for _, n := range []int{0, 100, pages, 2 * pages, len(image) / 2, len(image) - pages} {
		r, err := store.CheckFile(filepath.Join(place(t, image[:n]), store.FileName), nil)
		require.NoError(t, err)
		require.False(t, r.Sound(), "%d bytes", n)
	}
}

func TestChildVerify(t *testing.T) {
	path := filepath.Join(place(t, record(t, 1).images[1]), store.FileName)
	t.Run("finds nothing in a whole file", func(t *testing.T) {
		r, err := child()(t.Context(), path)
		require.NoError(t, err)
		require.True(t, r.Clean(), r.Summary())
		require.Equal(t, 2, r.Version)
		require.Positive(t, r.Rows())
	})
	t.Run("of a file that another has open says nothing of it", func(t *testing.T) {
		db, err := store.Open(store.Options{Dir: t.TempDir()})
		require.NoError(t, err)
		_, err = child()(t.Context(), db.Path())
		require.ErrorIs(t, err, store.ErrNotChecked)
		require.ErrorContains(t, err, "another program has")
		require.NoError(t, db.Close())
	})
	t.Run("of what is no file says nothing", func(t *testing.T) {
		_, err := child()(t.Context(), filepath.Join(t.TempDir(), "missing"))
		require.ErrorIs(t, err, store.ErrNotChecked)
	})
	t.Run("that crashes is a fault of the file", func(t *testing.T) {
		r, err := store.Child("/bin/sh", "-c", "echo boom >&2; exit 3")(t.Context(), path)
		require.NoError(t, err)
		require.Contains(t, r.Summary(), "the check crashed: boom")
	})
	t.Run("that hangs is killed and a fault of the file", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*1e6)
		defer cancel()
		r, err := store.Child("/bin/sh", "-c", "exec sleep 600")(ctx, path)
		require.NoError(t, err)
		require.Contains(t, r.Summary(), "no end in its time")
	})
	t.Run("that cannot start says nothing of the file", func(t *testing.T) {
		_, err := store.Child("/nonexistent/program")(t.Context(), path)
		require.ErrorIs(t, err, store.ErrNotChecked)
	})
	t.Run("that prints nothing says nothing of the file", func(t *testing.T) {
		_, err := store.Child("/bin/true")(t.Context(), path)
		require.ErrorIs(t, err, store.ErrNotChecked)
	})
}

func TestCheckDecodesTheRowsOfKnownBuckets(t *testing.T) {
	dir := t.TempDir()
	db, err := store.Open(store.Options{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, db.Update(t.Context(), func(tx *store.Tx) error {
		return errors.Join(
			store.NewBucket[[]int]("session.entries").Put(tx, "agent:main:bad", []int{1}),
			store.NewBucket[[]int]("elsewhere.rows").Put(tx, "fine", []int{1}),
		)
	}))
	require.NoError(t, db.Close())
	r, err := store.CheckFile(db.Path(), tables())
	require.NoError(t, err)
	require.True(t, r.Sound())
	require.Equal(t, 1, r.BadRowCount)
	require.Contains(t, r.Summary(), `session.entries "agent:main:bad"`)
	require.Contains(t, r.Tables, store.Count{Name: "elsewhere.rows", Rows: 1, Unknown: true})
}

package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func pack(t *testing.T) (raw []byte, m Manifest) {
	dir := t.TempDir()
	big := bytes.Repeat([]byte("0123456789"), 10_000)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), big, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "b"), []byte("text"), 0o644))
	var out bytes.Buffer
	m, err := Write(&out, Manifest{CreatedAt: time.Unix(1, 0), Version: "1", Files: []File{
		{Name: "data", Source: filepath.Join(dir, "a")}, {Name: "identity/key", Source: filepath.Join(dir, "b")},
	}})
	require.NoError(t, err)
	return out.Bytes(), m
}

func TestReadGivesBackWhatWritePacked(t *testing.T) {
	raw, m := pack(t)
	dir := t.TempDir()
	got, err := Read(bytes.NewReader(raw), dir, nil)
	require.NoError(t, err)
	require.Equal(t, m.Files[0].SHA256, got.Files[0].SHA256)
	require.Equal(t, int64(100_004), got.Bytes())
	require.True(t, got.Has("identity/key"))
	text, err := os.ReadFile(filepath.Join(dir, "identity", "key"))
	require.NoError(t, err)
	require.Equal(t, "text", string(text))
	info, err := os.Stat(filepath.Join(dir, "identity", "key"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestModesSurviveAndOlderFormatsAreRead(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "run"), []byte("x"), 0o755))
	var out bytes.Buffer
	_, err := Write(&out, Manifest{Files: []File{{Name: "run", Source: filepath.Join(dir, "run"), Exec: true}}})
	require.NoError(t, err)
	_, err = Read(&out, to, nil)
	require.NoError(t, err)
	info, err := os.Stat(filepath.Join(to, "run"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	const x = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881" // SHA-256 of "x"
	old := forge(t, Manifest{Format: 1, Files: []File{{Name: "x", Bytes: 1, SHA256: x}}}, tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: 1})
	_, err = Read(bytes.NewReader(old), "", nil)
	require.NoError(t, err)
}

// shrinking is a writer that empties a file once writing has begun, as somebody who
// works in a folder that is being packed does.
type shrinking struct {
	t    *testing.T
	file string
}

func (s shrinking) Write(p []byte) (int, error) {
	require.NoError(s.t, os.WriteFile(s.file, nil, 0o600))
	return len(p), nil
}

func TestAFileThatChangesWhileItIsPackedIsTold(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	noise := make([]byte, 1<<20)
	_, err := rand.Read(noise)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(first, noise, 0o600))
	require.NoError(t, os.WriteFile(second, noise, 0o600))
	_, err = Write(shrinking{t, second}, Manifest{Files: []File{{Name: "first", Source: first}, {Name: "second", Source: second}}})
	require.ErrorIs(t, err, ErrChanged)
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	_, err = Write(io.Discard, Manifest{Files: []File{{Name: "fifo", Source: filepath.Join(dir, "fifo")}}})
	require.ErrorContains(t, err, "no regular file", "it would block")
}

func TestReadAsksBeforeItWrites(t *testing.T) {
	raw, _ := pack(t)
	dir := t.TempDir()
	refused := errors.New("refused")
	_, err := Read(bytes.NewReader(raw), dir, func(Manifest) error { return refused })
	require.ErrorIs(t, err, refused)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestEveryCutOffOrChangedBundleIsRefused(t *testing.T) {
	raw, _ := pack(t)
	for n := 0; n < len(raw)-20; n += 1 + len(raw)/40 {
		_, err := Read(bytes.NewReader(raw[:n]), "", nil)
		require.Error(t, err, "%d of %d bytes", n, len(raw))
	}
	for i := 20; i < len(raw)-8; i += 1 + len(raw)/40 {
		changed := bytes.Clone(raw)
		changed[i] ^= 0x40
		_, err := Read(bytes.NewReader(changed), "", nil)
		require.Error(t, err, "byte %d", i)
	}
}

// forge packs entries without asking whether they make sense.
func forge(t *testing.T, m any, heads ...tar.Header) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	raw, err := json.Marshal(m)
	require.NoError(t, err)
	require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: ManifestName, Size: int64(len(raw))}))
	_, err = w.Write(raw)
	require.NoError(t, err)
	for _, h := range heads {
		require.NoError(t, w.WriteHeader(&h))
		_, err = w.Write(bytes.Repeat([]byte("x"), int(h.Size)))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, z.Close())
	return out.Bytes()
}

func TestReadRefusesForgedBundles(t *testing.T) {
	one := func(f File) Manifest { return Manifest{Format: Format, Files: []File{f}} }
	const x = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881" // SHA-256 of "x"
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"a name that leaves the folder": {forge(t, one(File{Name: "../x", Bytes: 1, SHA256: x})), `names "../x"`},
		"an absolute name":              {forge(t, one(File{Name: "/x", Bytes: 1, SHA256: x})), `names "/x"`},
		"a name twice":                  {forge(t, Manifest{Format: Format, Files: []File{{Name: "x"}, {Name: "x"}}}), `names "x"`},
		"a link":                        {forge(t, one(File{Name: "x", SHA256: x}), tar.Header{Typeflag: tar.TypeSymlink, Name: "x", Linkname: "/etc/passwd"}), "not what the manifest announces"},
		"another size":                  {forge(t, one(File{Name: "x", Bytes: 1, SHA256: x}), tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: 2}), "not what the manifest announces"},
		"another content":               {forge(t, one(File{Name: "x", Bytes: 2, SHA256: x}), tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: 2}), "not what was packed"},
		"a file more":                   {forge(t, one(File{Name: "x", Bytes: 1, SHA256: x}), tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: 1}, tar.Header{Typeflag: tar.TypeReg, Name: "y", Size: 1}), "not in the manifest"},
		"a newer format":                {forge(t, Manifest{Format: Format + 1}), "update it"},
		"no format":                     {forge(t, Manifest{}), "update it"},
		"sizes whose sum overflows":     {forge(t, Manifest{Format: Format, Files: []File{{Name: "x", Bytes: 1 << 62}, {Name: "y", Bytes: 1 << 62}}}), `names "x"`},
		"no manifest":                   {forge(t, []int{}), "manifest is unreadable"},
		"no archive at all":             {[]byte("hello"), "no backup file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(bytes.NewReader(c.raw), t.TempDir(), nil)
			require.ErrorContains(t, err, c.want)
		})
	}
}

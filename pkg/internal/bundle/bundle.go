// Package bundle packs files into one gzipped tar that proves its own content: its
// first entry is a manifest with the size and SHA-256 of every file.
//
// It refuses, when it unpacks, whatever the manifest does not announce: other names,
// other sizes, links, special files, and names that would leave the folder. It knows
// nothing of what the files mean. Functions keep no state.
package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// ManifestName is the name of the first entry.
	ManifestName = "manifest.json"
	// Format is the version of the manifest; older ones, which knew no modes and fewer
	// files, are read as well.
	Format = 2
	// FilesMax bounds the files of a bundle.
	FilesMax = 25_000

	manifestBytesMax = 32 << 20
	fileBytesMax     = 1 << 40 // so that no sum of sizes overflows
	trailerBytesMax  = 1 << 20 // of padding behind the last entry
)

// ErrChanged says that a file changed while it was packed.
var ErrChanged = errors.New("it changed while it was read")

// Manifest is the first entry.
type Manifest struct {
	Format int `json:"format"`
	// CreatedAt is when the files were collected.
	CreatedAt time.Time `json:"createdAt"`
	// Version is that of the program that packed them.
	Version string `json:"version"`
	Files   []File `json:"files"`
}

// Bytes is the size of all files.
func (m Manifest) Bytes() (n int64) {
	for _, f := range m.Files {
		n += f.Bytes
	}
	return n
}

// Has reports whether a file of the name is in it.
func (m Manifest) Has(name string) bool {
	for _, f := range m.Files {
		if f.Name == name {
			return true
		}
	}
	return false
}

// File is one file of a bundle.
type File struct {
	// Name is a slash-separated path below the folder that the bundle was made of.
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	// Exec says that its owner may execute it.
	Exec bool `json:"exec,omitempty"`
	// Source is where Write reads it.
	Source string `json:"-"`
}

// Write packs the files at their Source. Files may not change meanwhile: one that
// does is an error, ErrChanged or fs.ErrNotExist.
func Write(out io.Writer, m Manifest) (Manifest, error) {
	m.Format = Format
	if len(m.Files) > FilesMax {
		return m, fmt.Errorf("there are %d files, a bundle takes %d", len(m.Files), FilesMax)
	}
	for i := range m.Files {
		f := &m.Files[i]
		sum, n, err := hashFile(f.Source)
		if err != nil {
			return m, fmt.Errorf("pack %s: %w", f.Name, err)
		}
		f.SHA256, f.Bytes = sum, n
	}
	head, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return m, err
	}
	zipped := gzip.NewWriter(out)
	archive := tar.NewWriter(zipped)
	if err := put(archive, ManifestName, m.CreatedAt, int64(len(head)), bytes.NewReader(head)); err != nil {
		return m, err
	}
	for _, f := range m.Files {
		if err := putFile(archive, f, m.CreatedAt); err != nil {
			return m, fmt.Errorf("pack %s: %w", f.Name, err)
		}
	}
	return m, errors.Join(archive.Close(), zipped.Close())
}

// open opens a regular file; anything else could block.
func open(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("it is no regular file"), f.Close())
	}
	return f, nil
}

func hashFile(name string) (sum string, n int64, err error) {
	f, err := open(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), n, err
}

func putFile(archive *tar.Writer, f File, at time.Time) error {
	in, err := open(f.Source)
	if err != nil {
		return err
	}
	defer in.Close()
	h := sha256.New()
	// A file that has become shorter is filled up, so that the archive ends where its
	// heads say, and its hash tells.
	read := io.LimitReader(io.MultiReader(io.TeeReader(io.LimitReader(in, f.Bytes), h), zeros{}), f.Bytes)
	if err := put(archive, f.Name, at, f.Bytes, read); err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != f.SHA256 {
		return ErrChanged
	}
	return nil
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func put(archive *tar.Writer, name string, at time.Time, n int64, in io.Reader) error {
	err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: n, ModTime: at.Truncate(time.Second), Format: tar.FormatPAX})
	if err != nil {
		return err
	}
	_, err = io.Copy(archive, in)
	return err
}

// Read unpacks a bundle into dir, which must exist, and returns its manifest once
// every file is there with the announced size and hash, mode 0600 and on disk. accept
// is asked before anything is written and may refuse; nil accepts. With an empty dir
// nothing is written, only checked.
func Read(in io.Reader, dir string, accept func(Manifest) error) (Manifest, error) {
	zipped, err := gzip.NewReader(in)
	if err != nil {
		return Manifest{}, fmt.Errorf("it is no backup file: %w", err)
	}
	archive := tar.NewReader(zipped)
	m, err := readManifest(archive)
	if err != nil {
		return m, err
	}
	if accept != nil {
		if err := accept(m); err != nil {
			return m, err
		}
	}
	for _, f := range m.Files {
		head, err := archive.Next()
		if err != nil {
			return m, fmt.Errorf("%s is missing: %w", f.Name, err)
		}
		if head.Typeflag != tar.TypeReg || head.Name != f.Name || head.Size != f.Bytes {
			return m, fmt.Errorf("%q is not what the manifest announces here (%s, %d bytes)", head.Name, f.Name, f.Bytes)
		}
		if err := unpack(archive, dir, f); err != nil {
			return m, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	if head, err := archive.Next(); !errors.Is(err, io.EOF) {
		if err != nil {
			return m, fmt.Errorf("after the last file: %w", err)
		}
		return m, fmt.Errorf("%q is not in the manifest", head.Name)
	}
	// The end of the gzip stream proves that all of it was there.
	if n, err := io.Copy(io.Discard, io.LimitReader(zipped, trailerBytesMax+1)); err != nil || n > trailerBytesMax {
		return m, errors.Join(errors.New("its end is damaged"), err)
	}
	return m, nil
}

func readManifest(archive *tar.Reader) (m Manifest, err error) {
	head, err := archive.Next()
	if err != nil {
		return m, fmt.Errorf("it is no backup file: %w", err)
	}
	if head.Name != ManifestName || head.Typeflag != tar.TypeReg || head.Size > manifestBytesMax {
		return m, errors.New("it is no backup file: it does not begin with a manifest")
	}
	raw, err := io.ReadAll(io.LimitReader(archive, manifestBytesMax))
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil {
		return m, fmt.Errorf("its manifest is unreadable: %w", err)
	}
	if m.Format < 1 || m.Format > Format {
		return m, fmt.Errorf("it has format %d, this program reads formats up to %d: update it", m.Format, Format)
	}
	if len(m.Files) > FilesMax {
		return m, fmt.Errorf("it announces %d files, allowed are %d", len(m.Files), FilesMax)
	}
	seen := map[string]bool{}
	for _, f := range m.Files {
		if !fs.ValidPath(f.Name) || path.Clean(f.Name) != f.Name || f.Bytes < 0 || f.Bytes > fileBytesMax || seen[f.Name] {
			return m, fmt.Errorf("its manifest names %q", f.Name)
		}
		seen[f.Name] = true
	}
	return m, nil
}

// unpack writes one file below dir and compares its hash.
func unpack(in io.Reader, dir string, f File) (err error) {
	h := sha256.New()
	out := io.Writer(h)
	if dir != "" {
		to := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		mode := fs.FileMode(0o600)
		if f.Exec {
			mode = 0o700
		}
		file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Sync(), file.Close()) }()
		out = io.MultiWriter(h, file)
	}
	n, err := io.Copy(out, in)
	if err != nil {
		return fmt.Errorf("%d of %d bytes are there: %w", n, f.Bytes, err)
	}
	if hex.EncodeToString(h.Sum(nil)) != f.SHA256 {
		return errors.New("its content is not what was packed: the file is damaged or was changed")
	}
	return nil
}

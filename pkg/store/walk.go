package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// The layout of bbolt's pages behind the meta pages, and of their elements.
const (
	pageBranch   = 0x01
	pageLeaf     = 0x02
	elementBytes = 16
	bucketEntry  = 0x01
	bucketBytes  = 16 // in front of an inline bucket's page
	overflowMax  = 1 << 20
	walkDepthMax = 64
	offRoot      = pageHeaderBytes + 16
	offHighWater = pageHeaderBytes + 40
)

// walker follows the pages of a database file by reading, so that nothing in the
// file can crash it or lead it in a circle. It comes before bbolt's own check, which
// trusts page numbers and lengths, and follows a circle until the memory is full.
type walker struct {
	file      io.ReaderAt
	pageBytes int64
	highWater uint64
	seen      map[uint64]uint64 // page, overflow pages too: who referred to it
}

// walkPages returns the first fault of the tree that the newest valid meta page
// leads to.
func walkPages(f *os.File) error {
	size, pages, err := metaPages(f)
	if err != nil {
		// One torn meta page is what a crash may leave; bbolt uses the other.
		if size, pages, err = secondMeta(f); err != nil {
			return err
		}
	}
	page := pages[0]
	if a, b := readMeta(pages[0]), readMeta(pages[1]); !a.valid || b.valid && b.txid > a.txid {
		page = pages[1]
	}
	w := walker{
		file: f, pageBytes: size, seen: map[uint64]uint64{},
		highWater: binary.NativeEndian.Uint64(page[offHighWater:]),
	}
	return w.page(binary.NativeEndian.Uint64(page[offRoot:]), 0, 0)
}

// secondMeta finds the second meta page when the first is torn: it lies where its own
// page size says.
func secondMeta(f *os.File) (size int64, pages [2][]byte, err error) {
	for size := int64(pageSizeMin); size <= pageSizeMax; size *= 2 {
		page := make([]byte, pageHeaderBytes+metaBytes)
		if _, err := f.ReadAt(page, size); err != nil {
			break
		}
		if readMeta(page).valid && int64(binary.NativeEndian.Uint32(page[offPageSize:])) == size {
			return size, [2][]byte{make([]byte, len(page)), page}, nil
		}
	}
	return 0, pages, errors.New("neither meta page is valid: this is no database, or its beginning is lost")
}

func (w *walker) page(id, from uint64, depth int) error {
	if depth > walkDepthMax {
		return fmt.Errorf("page %d: the tree is deeper than any of its size", id)
	}
	p, err := w.load(id, from)
	if err != nil {
		return err
	}
	flags, count := binary.NativeEndian.Uint16(p[8:]), int(binary.NativeEndian.Uint16(p[10:]))
	if len(p) < pageHeaderBytes+count*elementBytes {
		return fmt.Errorf("page %d: %d elements do not fit into it", id, count)
	}
	switch flags {
	case pageBranch:
		if count == 0 {
			return fmt.Errorf("page %d: a branch without elements", id)
		}
		return w.branch(id, p, count, depth)
	case pageLeaf:
		return w.leaf(id, p, count, depth)
	}
	return fmt.Errorf("page %d, below page %d: its type is %#x, neither branch nor leaf", id, from, flags)
}

// load reads a page with its overflow pages and notes that they are in use.
func (w *walker) load(id, from uint64) ([]byte, error) {
	if id < 2 || id >= w.highWater {
		return nil, fmt.Errorf("page %d, below page %d: out of the range 2 to %d", id, from, w.highWater)
	}
	head := make([]byte, pageHeaderBytes)
	if _, err := w.file.ReadAt(head, int64(id)*w.pageBytes); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	overflow := uint64(binary.NativeEndian.Uint32(head[12:]))
	if own := binary.NativeEndian.Uint64(head); own != id {
		return nil, fmt.Errorf("page %d, below page %d: it calls itself page %d", id, from, own)
	}
	if overflow > overflowMax || id+overflow >= w.highWater {
		return nil, fmt.Errorf("page %d: %d more pages do not fit into the file", id, overflow)
	}
	for i := id; i <= id+overflow; i++ {
		if other, ok := w.seen[i]; ok {
			return nil, fmt.Errorf("page %d is used twice, below pages %d and %d", i, other, from)
		}
		w.seen[i] = from
	}
	p := make([]byte, (int64(overflow)+1)*w.pageBytes)
	if _, err := w.file.ReadAt(p, int64(id)*w.pageBytes); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return p, nil
}

func (w *walker) branch(id uint64, p []byte, count, depth int) error {
	var last []byte
	for i := range count {
		at := pageHeaderBytes + i*elementBytes
		e := p[at:]
		key, ok := slice(p, at+int(binary.NativeEndian.Uint32(e)), int(binary.NativeEndian.Uint32(e[4:])))
		if !ok || i > 0 && bytes.Compare(last, key) >= 0 {
			return fmt.Errorf("page %d: key %d is out of place", id, i)
		}
		last = key
		if err := w.page(binary.NativeEndian.Uint64(e[8:]), id, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) leaf(id uint64, p []byte, count, depth int) error {
	var last []byte
	for i := range count {
		at := pageHeaderBytes + i*elementBytes
		e := p[at:]
		pos, n := at+int(binary.NativeEndian.Uint32(e[4:])), int(binary.NativeEndian.Uint32(e[8:]))
		key, ok := slice(p, pos, n)
		value, fits := slice(p, pos+n, int(binary.NativeEndian.Uint32(e[12:])))
		if !ok || !fits || i > 0 && bytes.Compare(last, key) >= 0 {
			return fmt.Errorf("page %d: key %d is out of place", id, i)
		}
		last = key
		if binary.NativeEndian.Uint32(e)&bucketEntry == 0 {
			continue
		}
		if err := w.bucket(id, value, depth); err != nil {
			return fmt.Errorf("bucket %q: %w", key, err)
		}
	}
	return nil
}

// bucket follows a bucket to its own tree, or into its value where it is small.
func (w *walker) bucket(id uint64, value []byte, depth int) error {
	if len(value) < bucketBytes {
		return fmt.Errorf("page %d: its header is cut off", id)
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return w.page(root, id, depth+1)
	}
	p := value[bucketBytes:]
	if len(p) < pageHeaderBytes || binary.NativeEndian.Uint16(p[8:]) != pageLeaf {
		return fmt.Errorf("page %d: its inline page is no leaf", id)
	}
	count := int(binary.NativeEndian.Uint16(p[10:]))
	if len(p) < pageHeaderBytes+count*elementBytes {
		return fmt.Errorf("page %d: its inline page is cut off", id)
	}
	return w.leaf(id, p, count, depth+1)
}

// slice returns n bytes of p from at on, if it has them.
func slice(p []byte, at, n int) ([]byte, bool) {
	if at < 0 || n < 0 || at > len(p) || n > len(p)-at {
		return nil, false
	}
	return p[at : at+n], true
}

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"

	bolterrors "go.etcd.io/bbolt/errors"
)

// errBoltTimeout is bbolt's answer when something else holds the file.
var errBoltTimeout = bolterrors.ErrTimeout

// The layout of bbolt's first two pages (version 2 of the format): a header of 16
// bytes, then the meta in the machine's byte order. A commit writes the page that
// the last one did not, after everything else is on disk, so the other one still
// leads to the state before; its pages are not reused until the next transaction.
const (
	pageHeaderBytes = 16
	metaBytes       = 64
	metaMagic       = 0xED0CDAED
	pageSizeMin     = 1 << 9
	pageSizeMax     = 1 << 16

	offPageSize = pageHeaderBytes + 8
	offTxID     = pageHeaderBytes + 48
	offSum      = pageHeaderBytes + 56
)

// metaPage is one of the two pages.
type metaPage struct {
	valid bool
	txid  uint64
}

// readMeta judges the meta page at the beginning of page.
func readMeta(page []byte) metaPage {
	h := fnv.New64a()
	_, _ = h.Write(page[pageHeaderBytes:offSum])
	return metaPage{
		valid: binary.NativeEndian.Uint32(page[pageHeaderBytes:]) == metaMagic && binary.NativeEndian.Uint64(page[offSum:]) == h.Sum64(),
		txid:  binary.NativeEndian.Uint64(page[offTxID:]),
	}
}

// revertMeta takes back the last transaction of a database that nobody has open.
// It refuses when the state before it is not there any more.
func revertMeta(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size, pages, err := metaPages(f)
	if err != nil {
		return err
	}
	var metas [2]metaPage
	for i := range pages {
		metas[i] = readMeta(pages[i])
	}
	if !metas[0].valid || !metas[1].valid {
		return errors.New("the state before is not there")
	}
	newest := 0
	if metas[1].txid > metas[0].txid {
		newest = 1
	}
	page := pages[1-newest]
	binary.NativeEndian.PutUint64(page, uint64(newest)) // the page's own number
	if _, err := f.WriteAt(page, int64(newest)*size); err != nil {
		return err
	}
	return f.Sync()
}

// metaPages reads the heads of the two meta pages. The page size stands in both; the
// first that names one is believed when the second page lies where it says.
func metaPages(f *os.File) (size int64, pages [2][]byte, err error) {
	for i := range pages {
		pages[i] = make([]byte, pageHeaderBytes+metaBytes)
	}
	if _, err := f.ReadAt(pages[0], 0); err != nil {
		return 0, pages, fmt.Errorf("read the first page: %w", err)
	}
	if readMeta(pages[0]).valid {
		size = int64(binary.NativeEndian.Uint32(pages[0][offPageSize:]))
		if size < pageSizeMin || size > pageSizeMax {
			return 0, pages, errors.New("the page size makes no sense")
		}
		_, err := f.ReadAt(pages[1], size)
		return size, pages, err
	}
	return 0, pages, errors.New("the state before is not there")
}

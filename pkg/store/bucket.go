package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	bolt "go.etcd.io/bbolt"
)

const (
	// KeyBytesMax bounds a key; bbolt would take 32 KiB, but no page would then
	// hold two keys.
	KeyBytesMax = 2048
	// ValueBytesMax bounds the JSON of one value: the largest frame a client may
	// send (25 MiB) with room for its escapes.
	ValueBytesMax = 64 << 20
)

var (
	errTxEnded  = errors.New("transaction used after its function returned")
	errReadOnly = errors.New("write in a read transaction")
)

// Bucket is a named map from string keys to values of type V, kept as JSON in
// key order (by bytes). It holds no data itself and may be a package variable.
//
// A bucket has one owner, the package that declares it, and its name begins with
// that package's name and a dot. A test of this package holds the whole tree to
// that. Reads of a bucket that was never written find it empty.
type Bucket[V any] struct{ name []byte }

// Row is one entry of a bucket.
type Row[V any] struct {
	Key   string
	Value V
}

// Range selects rows of a bucket.
type Range struct {
	// Prefix is what the keys begin with; empty means all.
	Prefix string
	// After leaves out the rows up to and including this key, in the direction of
	// the scan; empty starts at the edge. The key need not exist.
	After string
	// Reverse scans from the last key to the first.
	Reverse bool
	// Limit is the largest number of rows; 0 means no limit.
	Limit int
}

// NewBucket declares a bucket.
func NewBucket[V any](name string) Bucket[V] { return Bucket[V]{name: []byte(name)} }

// SeqKey returns prefix, a zero byte and n as eight big-endian bytes, so that the
// rows of one prefix sort by n. The prefix must not hold a zero byte.
func SeqKey(prefix string, n uint64) string {
	b := append([]byte(prefix), 0)
	return string(binary.BigEndian.AppendUint64(b, n))
}

// Get reads the value of key. The bool reports whether there is one.
func (b Bucket[V]) Get(tx *Tx, key string) (V, bool, error) {
	var zero V
	in, err := tx.read(b.name)
	if err != nil || in == nil {
		return zero, false, err
	}
	raw := in.Get([]byte(key))
	if raw == nil {
		return zero, false, nil
	}
	v, err := b.decode([]byte(key), raw)
	return v, err == nil, err
}

// Has reports whether key has a value, without decoding it.
func (b Bucket[V]) Has(tx *Tx, key string) (bool, error) {
	in, err := tx.read(b.name)
	if err != nil || in == nil {
		return false, err
	}
	return in.Get([]byte(key)) != nil, nil
}

// Put writes the value of key. It refuses keys over KeyBytesMax and values whose
// JSON is over ValueBytesMax before anything is written.
func (b Bucket[V]) Put(tx *Tx, key string, v V) error {
	if key == "" || len(key) > KeyBytesMax {
		return fmt.Errorf("bucket %s: key has %d bytes, allowed are 1 to %d", b.name, len(key), KeyBytesMax)
	}
	raw, err := encode(v)
	if err != nil {
		return fmt.Errorf("bucket %s key %q: %w", b.name, key, err)
	}
	if len(raw) > ValueBytesMax {
		return fmt.Errorf("bucket %s key %q: value has %d bytes, allowed are %d", b.name, key, len(raw), ValueBytesMax)
	}
	in, err := tx.write(b.name)
	if err != nil {
		return err
	}
	return in.Put([]byte(key), raw)
}

// Delete removes key. A key that has no value is no error and no write.
func (b Bucket[V]) Delete(tx *Tx, key string) error {
	has, err := b.Has(tx, key)
	if err != nil || !has {
		return err
	}
	in, err := tx.write(b.name)
	if err != nil {
		return err
	}
	return in.Delete([]byte(key))
}

// DeleteRange removes the rows that r selects and returns how many there were.
// Give it a limit: a transaction that frees much makes every later one dearer.
func (b Bucket[V]) DeleteRange(tx *Tx, r Range) (int, error) {
	var keys []string
	for key, err := range b.Keys(tx, r) {
		if err != nil {
			return 0, err
		}
		keys = append(keys, key)
	}
	for i, key := range keys {
		if err := b.Delete(tx, key); err != nil {
			return i, err
		}
	}
	return len(keys), nil
}

// NextSequence returns a number that it has not returned before: 1, 2, 3...
func (b Bucket[V]) NextSequence(tx *Tx) (uint64, error) {
	in, err := tx.write(b.name)
	if err != nil {
		return 0, err
	}
	return in.NextSequence()
}

// Scan visits the rows that r selects, in key order. A row that does not decode
// is visited with its key and an error; the scan goes on if the loop does. The
// bucket must not be written inside the loop.
func (b Bucket[V]) Scan(tx *Tx, r Range) iter.Seq2[Row[V], error] {
	return func(yield func(Row[V], error) bool) {
		for kv, err := range rows(tx, b.name, r) {
			if err != nil {
				yield(Row[V]{}, err)
				return
			}
			v, err := b.decode(kv.key, kv.value)
			if !yield(Row[V]{Key: string(kv.key), Value: v}, err) {
				return
			}
		}
	}
}

// All is Scan over the whole bucket.
func (b Bucket[V]) All(tx *Tx) iter.Seq2[Row[V], error] { return b.Scan(tx, Range{}) }

// Keys visits the keys that r selects without decoding the values.
func (b Bucket[V]) Keys(tx *Tx, r Range) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for kv, err := range rows(tx, b.name, r) {
			if !yield(string(kv.key), err) || err != nil {
				return
			}
		}
	}
}

// decode copies raw before it decodes it: a V with its own UnmarshalJSON may keep
// parts of its input, and bbolt's memory is gone when the transaction ends.
func (b Bucket[V]) decode(key, raw []byte) (V, error) {
	var v V
	if err := json.Unmarshal(bytes.Clone(raw), &v); err != nil {
		var zero V
		return zero, fmt.Errorf("bucket %s key %q: %w", b.name, key, err)
	}
	return v, nil
}

// encode is json.Marshal without the escapes for HTML, which cost up to six bytes
// for one.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// read returns the bbolt bucket, nil when it was never written.
func (tx *Tx) read(name []byte) (*bolt.Bucket, error) {
	if tx.bolt == nil {
		return nil, errTxEnded
	}
	return tx.bolt.Bucket(name), nil
}

// write returns the bbolt bucket for writing and remembers that the function wrote.
func (tx *Tx) write(name []byte) (*bolt.Bucket, error) {
	if tx.bolt == nil {
		return nil, errTxEnded
	}
	if !tx.bolt.Writable() {
		return nil, errReadOnly
	}
	tx.wrote = true
	return tx.bolt.CreateBucketIfNotExists(name)
}

// keyValue is a row as bbolt holds it: valid until the transaction ends.
type keyValue struct{ key, value []byte }

// rows visits what r selects.
func rows(tx *Tx, name []byte, r Range) iter.Seq2[keyValue, error] {
	return func(yield func(keyValue, error) bool) {
		in, err := tx.read(name)
		if err != nil {
			yield(keyValue{}, err)
			return
		}
		if in == nil {
			return
		}
		c := in.Cursor()
		step := c.Next
		if r.Reverse {
			step = c.Prev
		}
		n := 0
		for k, v := start(c, r); k != nil && bytes.HasPrefix(k, []byte(r.Prefix)); k, v = step() {
			if r.Limit > 0 && n == r.Limit {
				return
			}
			n++
			if !yield(keyValue{k, v}, nil) {
				return
			}
		}
	}
}

// start moves the cursor to the first row of r, in r's direction.
func start(c *bolt.Cursor, r Range) (key, value []byte) {
	if !r.Reverse {
		from := max(r.Prefix, r.After)
		k, v := c.Seek([]byte(from))
		if r.After != "" && string(k) == r.After {
			return c.Next()
		}
		return k, v
	}
	end := successor(r.Prefix)
	if r.After != "" && (end == "" || r.After < end) {
		end = r.After
	}
	if end == "" {
		return c.Last()
	}
	if k, _ := c.Seek([]byte(end)); k == nil {
		return c.Last()
	}
	return c.Prev()
}

// successor returns the first key after all keys that begin with prefix, or ""
// when there is none.
func successor(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return ""
}

package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// checkTimeMin and checkBytesPerSecond give a check its time when the caller
	// gives it none. A check that needs longer than this is stuck.
	// It is long because a machine that comes back from a power cut is busy.
	checkTimeMin        = time.Minute
	checkBytesPerSecond = 8 << 20
	// faultsMax bounds the faults a report names; all are counted.
	faultsMax      = 20
	faultBytesMax  = 300
	reportBytesMax = 1 << 20
	// checkStackMax ends a recursion along pages that form a circle.
	checkStackMax = 64 << 20
)

// ErrNotChecked says that a check could not be run, which tells nothing of the file.
var ErrNotChecked = errors.New("the database could not be checked")

// Verify checks the database file at path and changes nothing. Whatever a check
// finds, and that it crashed or got stuck, is in the report; the error is
// ErrNotChecked, or the context's.
type Verify func(ctx context.Context, path string) (Report, error)

// Table is what the owner of a bucket knows of its rows.
type Table struct {
	// Name is the bucket's.
	Name string
	// Decode returns an error for a row that its owner could not read.
	Decode func(key, value []byte) error
}

// Table returns the bucket's name and decoder, for CheckFile.
func (b Bucket[V]) Table() Table {
	return Table{Name: string(b.name), Decode: func(key, value []byte) error {
		_, err := b.decode(key, value)
		return err
	}}
}

// Report is what a check found.
type Report struct {
	// Path is the file.
	Path string `json:"path"`
	// Bytes is its size.
	Bytes int64 `json:"bytes"`
	// Version is the schema version, 0 when it cannot be read.
	Version int `json:"version"`
	// Tables are the buckets with their number of rows, in the order of their names.
	Tables []Count `json:"tables"`
	// Faults are faults of the structure: the file must not be written to. At most 20
	// are named.
	Faults []string `json:"faults,omitempty"`
	// BadRows are rows that do not decode, in a file whose structure is whole; their
	// owners leave them out. At most 20 are named.
	BadRows []string `json:"badRows,omitempty"`
	// FaultCount and BadRowCount count all of them.
	FaultCount  int `json:"faultCount"`
	BadRowCount int `json:"badRowCount"`
	// Ms is how long the check took.
	Ms int64 `json:"ms"`
}

// Count is a bucket and its number of rows.
type Count struct {
	Name string `json:"name"`
	Rows int    `json:"rows"`
	// Unknown says that nobody in this build owns the bucket.
	Unknown bool `json:"unknown,omitempty"`
}

// Sound reports whether the structure is whole.
func (r *Report) Sound() bool { return r.FaultCount == 0 }

// Clean reports whether nothing at all was found.
func (r *Report) Clean() bool { return r.FaultCount == 0 && r.BadRowCount == 0 }

// Rows counts the rows of all buckets.
func (r *Report) Rows() (n int) {
	for _, t := range r.Tables {
		n += t.Rows
	}
	return n
}

// Summary tells the first faults in one line.
func (r *Report) Summary() string {
	all := append(append([]string{}, r.Faults...), r.BadRows...)
	text := strings.Join(all[:min(len(all), 3)], "; ")
	if more := r.FaultCount + r.BadRowCount - min(len(all), 3); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

func (r *Report) fault(format string, args ...any) {
	if r.FaultCount++; len(r.Faults) < faultsMax {
		r.Faults = append(r.Faults, cut(fmt.Sprintf(format, args...)))
	}
}

func (r *Report) badRow(format string, args ...any) {
	if r.BadRowCount++; len(r.BadRows) < faultsMax {
		r.BadRows = append(r.BadRows, cut(fmt.Sprintf(format, args...)))
	}
}

func cut(text string) string {
	if len(text) > faultBytesMax {
		text = text[:faultBytesMax] + "..."
	}
	return strings.ToValidUTF8(text, "?")
}

// Here returns a Verify that runs in this process. A damaged file may crash the
// process or keep it busy for ever, so it is for files that are known to be whole
// and for tests; Child is for all others.
func Here(tables ...Table) Verify {
	return func(_ context.Context, path string) (Report, error) { return CheckFile(path, tables) }
}

// Child returns a Verify that runs a program for each check, with the path as its
// last argument, and kills it when its time is over. The program calls ServeCheck.
func Child(program string, args ...string) Verify {
	return func(ctx context.Context, path string) (Report, error) {
		info, err := os.Stat(path)
		if err != nil {
			return Report{}, fmt.Errorf("%w: %w", ErrNotChecked, err)
		}
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, checkTimeMin+time.Duration(info.Size()/checkBytesPerSecond)*time.Second)
			defer cancel()
		}
		cmd := exec.CommandContext(ctx, program, append(append([]string{}, args...), path)...)
		if program == selfProgram {
			cmd.Args[0] = os.Args[0]
		}
		began := time.Now()
		r, err := runCheck(ctx, cmd)
		r.Path, r.Bytes, r.Ms = path, info.Size(), time.Since(began).Milliseconds()
		return r, err
	}
}

// selfProgram is, on Linux, the running program even after an update replaced its file.
const selfProgram = "/proc/self/exe"

// Self returns Child for the program that runs.
func Self(args ...string) Verify {
	if _, err := os.Stat(selfProgram); err == nil {
		return Child(selfProgram, args...)
	}
	program, err := os.Executable()
	if err != nil {
		program = os.Args[0]
	}
	return Child(program, args...)
}

// runCheck runs the child and judges its end.
func runCheck(ctx context.Context, cmd *exec.Cmd) (Report, error) {
	var out, errs capped
	out.left, errs.left = reportBytesMax, 4096
	cmd.Stdout, cmd.Stderr = &out, &errs
	// Nothing of the environment but what the race detector reads: no secret.
	cmd.Env = []string{"GOTRACEBACK=single", "GORACE=" + os.Getenv("GORACE")}
	cmd.WaitDelay = time.Second
	hold, err := cmd.StdinPipe() // a child without a parent reads its end, and exits
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return Report{}, fmt.Errorf("%w: %w", ErrNotChecked, err)
	}
	err = cmd.Wait()
	_ = hold.Close()
	var r Report
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return r, ctx.Err()
	case ctx.Err() != nil:
		r.fault("the check found no end in its time")
	case err != nil:
		r.fault("the check crashed: %s", firstLine(errs.String(), err))
	default:
		var told served
		if json.Unmarshal(out.Bytes(), &told) != nil {
			return Report{}, fmt.Errorf("%w: the checking program printed no report", ErrNotChecked)
		}
		if told.NotChecked != "" {
			return Report{}, fmt.Errorf("%w: %s", ErrNotChecked, told.NotChecked)
		}
		return told.Report, nil
	}
	return r, nil
}

// served is what a checking child prints.
type served struct {
	Report Report `json:"report"`
	// NotChecked says why there is no report.
	NotChecked string `json:"notChecked,omitempty"`
}

// firstLine returns what a crashed program said first.
func firstLine(text string, err error) string {
	if line, _, _ := strings.Cut(strings.TrimSpace(text), "\n"); line != "" {
		return line
	}
	return err.Error()
}

// capped keeps the first bytes of what is written to it.
type capped struct {
	bytes.Buffer
	left int
}

func (c *capped) Write(b []byte) (int, error) {
	n := min(len(b), c.left)
	c.left -= n
	c.Buffer.Write(b[:n])
	return len(b), nil
}

// ServeCheck is the life of a child of Child: it checks the file and prints the
// report. It ends the process when in reaches its end, because its parent is gone.
func ServeCheck(path string, tables []Table, in io.Reader, out io.Writer) error {
	debug.SetMaxStack(checkStackMax)
	go func() {
		_, _ = io.Copy(io.Discard, in)
		os.Exit(1)
	}()
	var told served
	var err error
	if told.Report, err = CheckFile(path, tables); err != nil {
		told.NotChecked = strings.TrimPrefix(err.Error(), ErrNotChecked.Error()+": ")
	}
	return json.NewEncoder(out).Encode(told)
}

// CheckFile checks a database file in this process: see Here. Buckets that tables do
// not name are held to be JSON. It waits two seconds for another owner of the file;
// the error is ErrNotChecked when there is one, or when the file cannot be opened.
func CheckFile(path string, tables []Table) (r Report, err error) {
	began := time.Now()
	defer func() {
		if p := recover(); p != nil {
			r.fault("reading the file failed: %v", p)
		}
		r.Ms = time.Since(began).Milliseconds()
	}()
	// Reading a mapped file that is shorter than it says would end the process.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	r.Path = path
	f, err := os.Open(path)
	if err != nil {
		return r, fmt.Errorf("%w: %w", ErrNotChecked, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return r, fmt.Errorf("%w: %w", ErrNotChecked, err)
	}
	r.Bytes = info.Size()
	if err := walkPages(f); err != nil {
		r.fault("%v", err)
		return r, nil
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: boltLockTimeout, FreelistType: bolt.FreelistMapType})
	if errors.Is(err, errBoltTimeout) {
		return r, fmt.Errorf("%w: another program has %s open", ErrNotChecked, path)
	}
	if err != nil {
		r.fault("open: %v", err)
		return r, nil
	}
	defer db.Close()
	if err := db.View(func(tx *bolt.Tx) error { return r.check(tx, tables) }); err != nil {
		r.fault("%v", err)
	}
	return r, nil
}

func (r *Report) check(tx *bolt.Tx, tables []Table) error {
	if r.Bytes < tx.Size() {
		return fmt.Errorf("the file has %d bytes, its header speaks of %d: it was cut off", r.Bytes, tx.Size())
	}
	for err := range tx.Check() {
		r.fault("%v", err)
	}
	if !r.Sound() {
		return nil // whatever rows it holds, they are not to be read
	}
	known := map[string]Table{}
	for _, t := range tables {
		known[t.Name] = t
	}
	return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
		if b == nil {
			r.fault("%q at the top is no bucket", name)
			return nil
		}
		if bytes.Equal(name, metaBucket) {
			if err := json.Unmarshal(b.Get(metaVersion), &r.Version); err != nil || r.Version < 1 {
				r.fault("the schema version is unreadable")
			}
			return nil
		}
		t, ok := known[string(name)]
		if !ok {
			t = Table{Decode: func(_, value []byte) error {
				if !json.Valid(value) {
					return errors.New("it is not JSON")
				}
				return nil
			}}
		}
		n := Count{Name: string(name), Unknown: !ok}
		err := b.ForEach(func(key, value []byte) error {
			n.Rows++
			if value == nil {
				r.fault("bucket %s holds a bucket %q", name, key)
			} else if err := t.Decode(key, value); err != nil {
				r.badRow("%s %q: %v", name, printableKey(key), unwrapped(err))
			}
			return nil
		})
		r.Tables = append(r.Tables, n)
		return err
	})
}

// printableKey shows a key without the number that some end with.
func printableKey(key []byte) string {
	if i := bytes.IndexByte(key, 0); i >= 0 && len(key) == i+9 {
		return fmt.Sprintf("%s #%d", key[:i], bytesToUint(key[i+1:]))
	}
	return string(key)
}

func bytesToUint(b []byte) (n uint64) {
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

// unwrapped leaves out the bucket and key that a decoder names, since we do.
func unwrapped(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

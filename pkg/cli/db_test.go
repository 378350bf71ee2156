package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The check of the database decodes the rows of every bucket of the tree. A bucket
// that is missing here is still checked to be JSON: list it in Tables of the package
// that declares it, and that package in tables().
func TestEveryBucketIsDecodedByTheCheck(t *testing.T) {
	declared := regexp.MustCompile(`NewBucket\[[^"\n]+\("([a-z]+[A-Za-z.]*)"\)`)
	var want []string
	require.NoError(t, filepath.WalkDir("..", func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		raw, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(raw, -1) {
			want = append(want, string(m[1]))
		}
		return err
	}))
	require.Greater(t, len(want), 10)
	var got []string
	for _, table := range tables() {
		got = append(got, table.Name)
	}
	slices.Sort(want)
	slices.Sort(got)
	require.Equal(t, want, got, "add the bucket's Table() to Tables() of its package")
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 5 << 20: "5.0 MiB", 2 << 30: "2.0 GiB", 5 << 29: "2.5 GiB"} {
		require.Equal(t, want, size(n))
	}
}

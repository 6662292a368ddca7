package etcd

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/bakingclouds/rollcall/internal/fault"
)

// putUntilFull puts values under the keys that key returns until the database has reached its limit.
func putUntilFull(t *testing.T, s *Server, key func(i int) string) {
	t.Helper()
	value := string(bytes.Repeat([]byte("v"), 100_000))
	for i := range 1000 {
		_, err := client(t, s).Put(t.Context(), key(i), value)
		if fault.Is(err, fault.Unavailable) && strings.Contains(err.Error(), "size limit") {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("a database with a limit of 16 MiB accepted 100 MB")
}

// TestQuota reaches the size limit twice: with history, which is compacted automatically, and with live rows, which
// must be deleted.
func TestQuota(t *testing.T) {
	cfg := Config{Dir: folder(t), QuotaBytes: 16 << 20}
	s := start(t, cfg)
	if _, err := client(t, s).Put(t.Context(), "kept", "yes"); err != nil {
		t.Fatal(err)
	}
	writable := func(key string) func() bool {
		return func() bool {
			c, err := s.Client()
			if err != nil {
				return false
			}
			_, err = c.Put(t.Context(), key, "v")
			return err == nil
		}
	}

	first := currentEngine(s)
	putUntilFull(t, s, func(int) string { return "same" })
	waitFor(t, "the engine restarts with a defragmentation", func() bool {
		return errors.Is(first.failure(), errDefrag)
	})
	waitFor(t, "writes succeed after the compaction", writable("after history"))
	if err := s.Health(); err != nil {
		t.Error(err)
	}

	putUntilFull(t, s, func(i int) string { return fmt.Sprintf("live/%04d", i) })
	full := func() bool {
		err := s.Health()
		return fault.Is(err, fault.Unavailable) &&
			strings.Contains(err.Error(), "16 MiB; delete what is no longer needed")
	}
	waitFor(t, "Health returns a remedy", full)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = start(t, cfg)
	waitFor(t, "Health returns the remedy after a restart", full)
	if writable("refused")() {
		t.Error("a write succeeded beyond the limit")
	}
	if _, err := client(t, s).Delete(t.Context(), "live/", clientv3.WithPrefix()); err != nil {
		t.Fatalf("a deletion failed at the limit: %v", err)
	}
	waitFor(t, "writes succeed after rows have been deleted", writable("after deletion"))
	waitFor(t, "healthy", func() bool { return s.Health() == nil })
	got, err := client(t, s).Get(t.Context(), "kept")
	if err != nil || got.Count != 1 {
		t.Errorf("kept: %v, %v", got, err)
	}
}

func TestCompactTo(t *testing.T) {
	for _, tc := range []struct {
		name           string
		rev, compacted int64
		since          time.Duration
		want           int64
	}{
		{"no changes", 20_000, 20_000, time.Hour, 0},
		{"few changes, short time", 30_000, 10_000, 4 * time.Minute, 0},
		{"few changes, long time", 30_000, 10_000, 5 * time.Minute, 20_000},
		{"many changes, very short time", 200_000, 10_000, 29 * time.Second, 0},
		{"many changes", 200_000, 10_000, 30 * time.Second, 190_000},
		{"fewer revisions than are kept", 9_000, 1, time.Hour, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := compactTo(tc.rev, tc.compacted, tc.since); got != tc.want {
				t.Errorf("compactTo(%d, %d, %v) = %d, want %d", tc.rev, tc.compacted, tc.since, got, tc.want)
			}
		})
	}
}

func TestStartDefrag(t *testing.T) {
	for _, tc := range []struct {
		name                string
		size, free, reserve int64
		full                bool
		want                int64
	}{
		{"only if it frees much", 1 << 30, 2 << 30, 128 << 20, false, startDefragBytes},
		{"any gain at the limit", 1 << 30, 2 << 30, 128 << 20, true, 1 << 20},
		{"no space for a copy", 1 << 30, 1<<30 + 64<<20, 128 << 20, true, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := startDefrag(tc.size, tc.free, tc.reserve, tc.full); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

//go:build linux

package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"github.com/bakingclouds/rollcall/internal/fault"
)

// writers are goroutines that write new keys all the time, and record which writes were acknowledged.
type writers struct {
	s    *Server
	stop context.CancelFunc
	done sync.WaitGroup

	acked, rejected, unknown atomic.Int64

	mu         sync.Mutex
	keys       []string
	unexpected error // an error of a kind that the package comment does not allow
}

func startWriters(t *testing.T, s *Server, count, valueBytes int) *writers {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &writers{s: s, stop: cancel}
	value := string(bytes.Repeat([]byte("v"), valueBytes))
	for w := range count {
		c.done.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				c.write(ctx, fmt.Sprintf("writers/%02d/%08d", w, n), value)
			}
		})
	}
	t.Cleanup(c.stopAndWait)
	return c
}

func (c *writers) stopAndWait() { c.stop(); c.done.Wait() }

// write writes as the store does: with the current client, in a transaction with a comparison, within two seconds.
func (c *writers) write(ctx context.Context, key, value string) {
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	cl, err := c.s.Client()
	if err == nil {
		absent := clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
		_, err = cl.Txn(short).If(absent).Then(clientv3.OpPut(key, value), clientv3.OpPut("writers/last", key)).Commit()
	}
	switch {
	case err == nil:
		c.acked.Add(1)
		c.mu.Lock()
		c.keys = append(c.keys, key)
		c.mu.Unlock()
		return
	case errors.Is(err, ErrOutcomeUnknown), errors.Is(err, rpctypes.ErrTimeout),
		errors.Is(err, context.DeadlineExceeded):
		c.unknown.Add(1)
	case fault.Is(err, fault.Unavailable):
		c.rejected.Add(1)
	case ctx.Err() == nil:
		c.mu.Lock()
		c.unexpected = err
		c.mu.Unlock()
	}
	select { // avoids a busy loop while the engine is down
	case <-ctx.Done():
	case <-time.After(time.Millisecond):
	}
}

// waitForWrites waits until n more writes have been acknowledged.
func (c *writers) waitForWrites(t *testing.T, n int64) {
	t.Helper()
	before := c.acked.Load()
	waitFor(t, fmt.Sprintf("%d more writes acknowledged", n), func() bool {
		return c.acked.Load() >= before+n
	})
}

// check verifies that every acknowledged key exists.
func (c *writers) check(t *testing.T) {
	t.Helper()
	got, err := client(t, c.s).Get(t.Context(), "writers/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, kv := range got.Kvs {
		found[string(kv.Key)] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	lost := 0
	for _, k := range c.keys {
		if !found[k] {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d acknowledged keys are lost", lost, len(c.keys))
	}
	if c.unexpected != nil {
		t.Errorf("a write failed with an unexpected error: %v", c.unexpected)
	}
	t.Logf("%d writes acknowledged and found, %d rejected, %d with unknown outcome",
		len(c.keys), c.rejected.Load(), c.unknown.Load())
}

// TestFullDisk fills the disk repeatedly during writes. The writes are rejected before etcd meets the full disk, so the
// engine keeps running, unless it saves a snapshot at that moment.
func TestFullDisk(t *testing.T) {
	disk, ok := smallDisk(t, 320<<20)
	if !ok {
		return
	}
	s := start(t, Config{Dir: filepath.Join(disk, "etcd")})
	c := startWriters(t, s, 8, 400)
	for range 3 {
		c.waitForWrites(t, 500)
		free := fill(t, disk)
		rejected := c.rejected.Load()
		waitFor(t, "writes are rejected", func() bool { return c.rejected.Load() > rejected+100 })
		waitFor(t, "Health returns a remedy", func() bool {
			err := s.Health()
			return fault.Is(err, fault.Unavailable) && strings.Contains(err.Error(), "free some space")
		})
		began := time.Now()
		free()
		c.waitForWrites(t, 500)
		t.Logf("writes succeeded %v after space was freed", time.Since(began))
	}
	c.stopAndWait()
	c.check(t)
}

// disableSpaceChecks disables the checks that protect e from a full disk. It allocates ahead bytes for the database
// once; after that, no space is reserved, and no write is rejected.
func disableSpaceChecks(t *testing.T, e *engine, ahead int64) {
	t.Helper()
	e.space.mu.Lock()
	defer e.space.mu.Unlock()
	if ahead > 0 {
		if err := reserveBlocks(e.space.db, e.space.reservedEnd, ahead); err != nil {
			t.Fatal(err)
		}
	}
	e.space.reserve = -1 << 40
	e.space.reservedEnd = 1 << 40
	e.space.spareSeen = time.Now().Add(time.Hour)
}

// TestFullDiskDuringWrite fills the disk while the space checks are disabled, so that etcd meets the full disk during a
// write: to the database, or, if the database has enough space, to the log.
func TestFullDiskDuringWrite(t *testing.T) {
	for _, tc := range []struct {
		name    string
		disk    int64
		writers int
		bytes   int
		ahead   int64 // bytes allocated for the database in advance
		rounds  int
		want    string // part of etcd's fatal error; empty allows any, usually of a commit, sometimes of a snapshot
	}{
		{"small values", 512 << 20, 64, 2000, 0, 3, ""},
		{"large values", 1 << 30, 16, 256 << 10, 0, 2, ""},
		{"log", 1 << 30, 16, 64 << 10, 512 << 20, 1, "failed to save Raft hard state and entries"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			disk, ok := smallDisk(t, tc.disk)
			if !ok {
				return
			}
			s := start(t, Config{Dir: filepath.Join(disk, "etcd")})
			c := startWriters(t, s, tc.writers, tc.bytes)
			for range tc.rounds {
				c.waitForWrites(t, 50)
				e, changed := currentEngine(s), s.Changed()
				disableSpaceChecks(t, e, tc.ahead)
				free := fill(t, disk)
				<-e.ctx.Done()
				<-changed
				t.Logf("the engine failed: %v", e.failure())
				reason := e.failure().Error()
				if !strings.Contains(reason, tc.want) || !strings.Contains(reason, "no space left on device") {
					t.Errorf("failure %q, want %q for lack of space", reason, tc.want)
				}
				if s.Health() == nil {
					t.Error("Health returns nil although the engine has failed")
				}
				c.stopAndWait()
				began := time.Now()
				free()
				waitFor(t, "healthy again", func() bool { return s.Health() == nil })
				t.Logf("healthy %v after space was freed", time.Since(began))
				c.check(t)
				// The disk is small, so delete the keys that have been checked.
				if _, err := client(t, s).Delete(t.Context(), "writers/", clientv3.WithPrefix()); err != nil {
					t.Fatal(err)
				}
				c = startWriters(t, s, tc.writers, tc.bytes)
			}
			c.waitForWrites(t, 50)
			c.stopAndWait()
			c.check(t)
		})
	}
}

// breakWrites makes every write fail to those open files of the engine whose path contains part.
func breakWrites(t *testing.T, e *engine, part string) {
	t.Helper()
	fds, err := openFilesUnder(filepath.Join(e.dir, "member"))
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	e.space.mu.Lock() // the headroom has the database file open too
	defer e.space.mu.Unlock()
	n := 0
	for _, fd := range fds {
		target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil || !strings.Contains(target, part) || fd == int(e.space.db.Fd()) {
			continue
		}
		keep, err := unix.Dup(fd) // keeps the file's lock, as an engine that cannot be stopped does
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(keep) })
		if err := unix.Dup3(int(null.Fd()), fd, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n == 0 {
		t.Fatalf("the engine has no open file that matches %s", part)
	}
}

// TestFailedWrite makes the writes to one kind of file fail, and expects a new engine with all acknowledged writes.
func TestFailedWrite(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		clean      bool // the failed engine can be stopped completely
	}{
		{"log", ".wal", true},
		{"database", "/snap/db", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			link := filepath.Join(t.TempDir(), "link") // data folders are often symbolic links
			if err := os.Symlink(t.TempDir(), link); err != nil {
				t.Fatal(err)
			}
			s := start(t, Config{Dir: filepath.Join(link, "etcd")})
			c := startWriters(t, s, 8, 400)
			for range 3 {
				c.waitForWrites(t, 500)
				e := currentEngine(s)
				watch := client(t, s).Watch(t.Context(), "unwritten")
				breakWrites(t, e, tc.file)
				<-e.ctx.Done()
				for range watch { // returns when the channel is closed
				}
				began := time.Now()
				c.waitForWrites(t, 500)
				t.Logf("%v; writes succeeded after %v", e.failure(), time.Since(began))
				if currentEngine(s) == e {
					t.Error("the failed engine is still in use")
				}
				if tc.clean {
					select {
					case <-e.server.StopNotify():
					default:
						t.Error("the failed engine was not stopped completely")
					}
				}
			}
			c.stopAndWait()
			c.check(t)
		})
	}
}

// TestFailedSnapshot renames the snapshot folder, so that the next snapshot fails.
func TestFailedSnapshot(t *testing.T) {
	s := start(t, Config{Dir: folder(t)})
	c := startWriters(t, s, 64, 10)
	e := currentEngine(s)
	snap := filepath.Join(e.dir, "member", "snap")
	if err := os.Rename(snap, snap+".away"); err != nil {
		t.Fatal(err)
	}
	<-e.ctx.Done()
	if err := os.Rename(snap+".away", snap); err != nil {
		t.Fatal(err)
	}
	// On a slow machine, etcd's purge of old snapshots, every 30 s, may find the folder missing first.
	reason := e.failure().Error()
	if !strings.Contains(reason, "failed to save snapshot") && !strings.Contains(reason, "failed to purge snap file") {
		t.Errorf("failure %q, want one of a snapshot or of a purge", reason)
	}
	c.waitForWrites(t, 500)
	c.stopAndWait()
	c.check(t)
	select {
	case <-e.server.StopNotify():
	default:
		t.Error("the failed engine was not stopped completely")
	}
}

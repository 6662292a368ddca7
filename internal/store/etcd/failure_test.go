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

// crowd is some writers who write ever new keys, each of its own, and remember what was acknowledged.
type crowd struct {
	s    *Server
	stop context.CancelFunc
	done sync.WaitGroup

	acked, refused, unknown atomic.Int64

	mu   sync.Mutex
	keys []string
	odd  error // an error that is none of the promised kinds
}

func gather(t *testing.T, s *Server, writers, valueBytes int) *crowd {
	ctx, cancel := context.WithCancel(t.Context())
	c := &crowd{s: s, stop: cancel}
	value := string(bytes.Repeat([]byte("v"), valueBytes))
	for w := range writers {
		c.done.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				c.write(ctx, fmt.Sprintf("crowd/%02d/%08d", w, n), value)
			}
		})
	}
	t.Cleanup(c.disperse)
	return c
}

func (c *crowd) disperse() { c.stop(); c.done.Wait() }

// write writes as the store does: the client of the moment, a transaction with a condition, two seconds.
func (c *crowd) write(ctx context.Context, key, value string) {
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	cl, err := c.s.Client()
	if err == nil {
		absent := clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
		_, err = cl.Txn(short).If(absent).Then(clientv3.OpPut(key, value), clientv3.OpPut("crowd/last", key)).Commit()
	}
	switch {
	case err == nil:
		c.acked.Add(1)
		c.mu.Lock()
		c.keys = append(c.keys, key)
		c.mu.Unlock()
		return
	case errors.Is(err, ErrOutcomeUnknown), errors.Is(err, rpctypes.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		c.unknown.Add(1)
	case fault.Is(err, fault.Unavailable):
		c.refused.Add(1)
	case ctx.Err() == nil:
		c.mu.Lock()
		c.odd = err
		c.mu.Unlock()
	}
	select { // no busy loop while the engine is down
	case <-ctx.Done():
	case <-time.After(time.Millisecond):
	}
}

// writes waits until n more writes have been acknowledged.
func (c *crowd) writes(t *testing.T, n int64) {
	t.Helper()
	before := c.acked.Load()
	until(t, time.Minute, fmt.Sprintf("%d more writes acknowledged", n), func() bool { return c.acked.Load() >= before+n })
}

// check reads back every key that was acknowledged.
func (c *crowd) check(t *testing.T) {
	t.Helper()
	got, err := client(t, c.s).Get(t.Context(), "crowd/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, kv := range got.Kvs {
		there[string(kv.Key)] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	lost := 0
	for _, k := range c.keys {
		if !there[k] {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d acknowledged keys are gone", lost, len(c.keys))
	}
	if c.odd != nil {
		t.Errorf("a write failed with an error of no promised kind: %v", c.odd)
	}
	t.Logf("%d writes acknowledged and there, %d refused, %d of unknown outcome", len(c.keys), c.refused.Load(), c.unknown.Load())
}

// TestFullDisk fills the disk under eight writers, again and again. Writes are refused before etcd notices, so
// the engine lives on, unless it happens to take a snapshot at the very moment.
func TestFullDisk(t *testing.T) {
	disk, ok := smallDisk(t, 320<<20)
	if !ok {
		return
	}
	s := start(t, Config{Dir: filepath.Join(disk, "etcd")})
	c := gather(t, s, 8, 400)
	for range 3 {
		c.writes(t, 500)
		free := fill(t, disk)
		refused := c.refused.Load()
		until(t, time.Minute, "writes are refused", func() bool { return c.refused.Load() > refused+100 })
		until(t, time.Minute, "health says what to do", func() bool {
			err := s.Health()
			return fault.Is(err, fault.Unavailable) && strings.Contains(err.Error(), "free some space")
		})
		began := time.Now()
		free()
		c.writes(t, 500)
		t.Logf("writes went on %v after space was freed", time.Since(began))
	}
	c.disperse()
	c.check(t)
}

// blind takes away what keeps e from meeting a full disk: its database gets this much space ahead and then no more,
// and nothing is refused.
func blind(t *testing.T, e *engine, ahead int64) {
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

// TestFullDiskUnawares does the same to an engine that meets the full disk in the middle of a write: of the
// database, which grows all the time, or, where the database has its space, of the log's next segment but one.
func TestFullDiskUnawares(t *testing.T) {
	for _, tc := range []struct {
		name    string
		disk    int64
		writers int
		bytes   int
		ahead   int64 // reserved for the database before
		rounds  int
		want    string // what etcd gives up on; empty leaves it to chance: mostly a commit, now and then a snapshot
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
			c := gather(t, s, tc.writers, tc.bytes)
			for range tc.rounds {
				c.writes(t, 50)
				e, changed := current(s), s.Changed()
				blind(t, e, tc.ahead)
				free := fill(t, disk)
				<-e.life.Done()
				<-changed
				t.Logf("the engine ended: %v", e.failure())
				if why := e.failure().Error(); !strings.Contains(why, tc.want) || !strings.Contains(why, "no space left on device") {
					t.Errorf("not the expected end, %q for want of space", tc.want)
				}
				if s.Health() == nil {
					t.Error("healthy although the engine is dead")
				}
				c.disperse()
				began := time.Now()
				free()
				until(t, time.Minute, "healthy again", func() bool { return s.Health() == nil })
				t.Logf("healthy %v after space was freed", time.Since(began))
				c.check(t)
				// The disk is small: what is known to be kept may go.
				if _, err := client(t, s).Delete(t.Context(), "crowd/", clientv3.WithPrefix()); err != nil {
					t.Fatal(err)
				}
				c = gather(t, s, tc.writers, tc.bytes)
			}
			c.writes(t, 50)
			c.disperse()
			c.check(t)
		})
	}
}

// spoil makes every write to the engine's open files whose path contains part fail.
func spoil(t *testing.T, e *engine, part string) {
	t.Helper()
	fds, err := openUnder(filepath.Join(e.dir, "member"))
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	e.space.mu.Lock() // it has the database open too
	defer e.space.mu.Unlock()
	n := 0
	for _, fd := range fds {
		target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil || !strings.Contains(target, part) || fd == int(e.space.db.Fd()) {
			continue
		}
		keep, err := unix.Dup(fd) // with its lock, as an engine's own leftover would be
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
		t.Fatalf("the engine has no file like %s open", part)
	}
}

// TestWriteFails lets one kind of write fail under a crowd and expects a new engine with everything in it.
func TestWriteFails(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		clean      bool // the failed engine can be stopped wholly
	}{
		{"log", ".wal", true},
		{"database", "/snap/db", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			link := filepath.Join(t.TempDir(), "link") // a data folder is often one
			if err := os.Symlink(t.TempDir(), link); err != nil {
				t.Fatal(err)
			}
			s := start(t, Config{Dir: filepath.Join(link, "etcd")})
			c := gather(t, s, 8, 400)
			for range 3 {
				c.writes(t, 500)
				e := current(s)
				watch := client(t, s).Watch(t.Context(), "unwritten")
				spoil(t, e, tc.file)
				<-e.life.Done()
				for range watch { // its channel closes
				}
				began := time.Now()
				c.writes(t, 500)
				t.Logf("%v; writes went on after %v", e.failure(), time.Since(began))
				if current(s) == e {
					t.Error("the failed engine is still in use")
				}
				if tc.clean {
					select {
					case <-e.server.StopNotify():
					default:
						t.Error("the failed engine was not stopped wholly")
					}
				}
			}
			c.disperse()
			c.check(t)
		})
	}
}

// TestSnapshotFails takes the snapshot folder away while a snapshot is due.
func TestSnapshotFails(t *testing.T) {
	s := start(t, Config{Dir: folder(t)})
	c := gather(t, s, 64, 10)
	e := current(s)
	snap := filepath.Join(e.dir, "member", "snap")
	if err := os.Rename(snap, snap+".away"); err != nil {
		t.Fatal(err)
	}
	<-e.life.Done()
	if err := os.Rename(snap+".away", snap); err != nil {
		t.Fatal(err)
	}
	// On a slow machine etcd's purge of old snapshots, every 30 s, may meet the missing folder first.
	if reason := e.failure().Error(); !strings.Contains(reason, "failed to save snapshot") && !strings.Contains(reason, "failed to purge snap file") {
		t.Error(reason)
	}
	c.writes(t, 500)
	c.disperse()
	c.check(t)
	select {
	case <-e.server.StopNotify():
	default:
		t.Error("the failed engine was not stopped wholly")
	}
}

package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"

	"github.com/google/go-cmp/cmp"

	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
)

// flakyEtcd is an etcd client that can lose its connection, cancel or delay its watches, and lose the responses to
// commits.
type flakyEtcd struct {
	client *clientv3.Client

	mu          sync.Mutex
	down        error // the error of source
	cancelWatch context.CancelFunc
	watchGate   chan struct{} // if not nil, watches begin when it is closed
	commitErr   func() error  // if it returns an error after a commit, the caller receives that error
}

// startFlakyEtcd starts an etcd server and returns a flaky client of it.
func startFlakyEtcd(t *testing.T) *flakyEtcd {
	t.Helper()
	client := storetest.Etcd(t)
	e := &flakyEtcd{}
	e.client = clientv3.NewCtxClient(context.Background())
	e.client.KV = lossyKV{client.KV, e}
	e.client.Watcher = flakyWatcher{client.Watcher, e}
	return e
}

func (e *flakyEtcd) source() (*clientv3.Client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.client, e.down
}

// disconnect makes source fail and cancels the watch.
func (e *flakyEtcd) disconnect(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = err
	e.cancelWatch()
}

// reconnect makes source succeed again.
func (e *flakyEtcd) reconnect() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = nil
}

type flakyWatcher struct {
	clientv3.Watcher
	etcd *flakyEtcd
}

func (w flakyWatcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	ctx, cancel := context.WithCancel(ctx)
	w.etcd.mu.Lock()
	w.etcd.cancelWatch = cancel
	gate := w.etcd.watchGate
	w.etcd.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return w.Watcher.Watch(ctx, key, opts...)
}

type lossyKV struct {
	clientv3.KV
	etcd *flakyEtcd
}

func (kv lossyKV) Txn(ctx context.Context) clientv3.Txn { return lossyTxn{kv.KV.Txn(ctx), kv.etcd} }

type lossyTxn struct {
	clientv3.Txn
	etcd *flakyEtcd
}

func (t lossyTxn) If(cs ...clientv3.Cmp) clientv3.Txn   { return lossyTxn{t.Txn.If(cs...), t.etcd} }
func (t lossyTxn) Then(ops ...clientv3.Op) clientv3.Txn { return lossyTxn{t.Txn.Then(ops...), t.etcd} }
func (t lossyTxn) Commit() (*clientv3.TxnResponse, error) {
	resp, err := t.Txn.Commit()
	t.etcd.mu.Lock()
	defer t.etcd.mu.Unlock()
	if t.etcd.commitErr != nil {
		if err := t.etcd.commitErr(); err != nil {
			return nil, err
		}
	}
	return resp, err
}

// changeLog collects the changes that a follower sees, and can wait for one.
type changeLog struct {
	mu      sync.Mutex
	changes []store.Change
	arrived chan struct{}
}

func logChanges(db *store.Store) *changeLog {
	r := &changeLog{arrived: make(chan struct{}, 1)}
	db.Follow(func(c store.Change) {
		r.mu.Lock()
		r.changes = append(r.changes, c)
		r.mu.Unlock()
		select {
		case r.arrived <- struct{}{}:
		default:
		}
	})
	r.drain()
	return r
}

// drain returns the changes since the last drain, one word for each revision: "+key" for a new row, "*key" for a
// changed one and "-key" for a deleted one.
func (r *changeLog) drain() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var revs []string
	for _, c := range r.changes {
		var rows []string
		for _, row := range c.Rows {
			sign := "*"
			if row.Old == nil {
				sign = "+"
			} else if row.New == nil {
				sign = "-"
			}
			id, _ := notes.ID(row.Key)
			rows = append(rows, sign+id)
		}
		revs = append(revs, strings.Join(rows, ","))
	}
	r.changes = nil
	return strings.Join(revs, " ")
}

// await waits for a change, and then drains.
func (r *changeLog) await(t *testing.T) string {
	t.Helper()
	for {
		if got := r.drain(); got != "" {
			return got
		}
		select {
		case <-r.arrived:
		case <-time.After(20 * time.Second):
			t.Fatal("no change reached the follower within 20 s")
		}
	}
}

func putRow(tb testing.TB, c *clientv3.Client, id, text string) int64 {
	tb.Helper()
	b, err := json.Marshal(note{Text: text})
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := c.Put(tb.Context(), storetest.Prefix+"/"+notes.Key(id), string(b))
	if err != nil {
		tb.Fatal(err)
	}
	return resp.Header.Revision
}

func deleteRow(tb testing.TB, c *clientv3.Client, id string) int64 {
	tb.Helper()
	resp, err := c.Delete(tb.Context(), storetest.Prefix+"/"+notes.Key(id))
	if err != nil {
		tb.Fatal(err)
	}
	return resp.Header.Revision
}

// TestEtcdUnreachable checks that while etcd is unreachable, rows stay readable and writes fail with Unavailable.
// Afterwards, followers see exactly the rows that changed meanwhile.
func TestEtcdUnreachable(t *testing.T) {
	e := startFlakyEtcd(t)
	for _, id := range []string{"kept", "changed", "deleted"} {
		putRow(t, e.client, id, "old")
	}
	db := storetest.OpenOn(t, e.source, notes)
	changes := logChanges(db)

	e.disconnect(errors.New("unreachable"))
	_, err := store.Update(t.Context(), db, func(tx *store.Tx) (int, error) {
		notes.Put(tx, "x", &note{})
		return 0, nil
	})
	if !fault.Is(err, fault.Unavailable) {
		t.Errorf("write while etcd is unreachable: %v, want Unavailable", err)
	}
	if got, want := ids(db.Snapshot(), ""), []string{"changed", "deleted", "kept"}; !slices.Equal(got, want) {
		t.Errorf("rows while etcd is unreachable: %v, want %v", got, want)
	}
	putRow(t, e.client, "changed", "new")
	putRow(t, e.client, "added", "new")
	deleteRow(t, e.client, "deleted")
	if got := changes.drain(); got != "" {
		t.Errorf("the follower saw %q while etcd was unreachable, want nothing", got)
	}

	e.reconnect()
	if got, want := changes.await(t), "+added,*changed,-deleted"; got != want {
		t.Errorf("the follower saw %q, want %q", got, want)
	}
	put(t, db, "after", "x")
	if got, want := changes.drain(), "+after"; got != want {
		t.Errorf("after the next write the follower saw %q, want %q", got, want)
	}
}

// TestCompactedWatch starts a watch from a revision that has been compacted. The mirror must list again and apply
// only the difference.
func TestCompactedWatch(t *testing.T) {
	e := startFlakyEtcd(t)
	putRow(t, e.client, "kept", "old")
	db := storetest.OpenOn(t, e.source, notes)
	changes := logChanges(db)

	e.mu.Lock()
	e.watchGate = make(chan struct{})
	e.mu.Unlock()
	e.disconnect(errors.New("unreachable"))
	putRow(t, e.client, "listed", "1")
	e.reconnect()
	if got, want := changes.await(t), "+listed"; got != want { // the listing is applied; the watch waits at the gate
		t.Fatalf("the follower saw %q, want %q", got, want)
	}
	putRow(t, e.client, "listed", "2")
	rev := putRow(t, e.client, "missed", "1")
	if _, err := e.client.Compact(t.Context(), rev); err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	close(e.watchGate)
	e.watchGate = nil
	e.mu.Unlock()
	if got, want := changes.await(t), "*listed,+missed"; got != want {
		t.Errorf("the follower saw %q, want %q", got, want)
	}
	put(t, db, "after", "x")
}

// TestWatchCatchUp lets a watch catch up on thousands of revisions. No revision may count as applied before its rows
// are in the mirror.
func TestWatchCatchUp(t *testing.T) {
	const n = 3000 // etcd sends at most 1,000 revisions at a time to a watcher that is catching up
	e := startFlakyEtcd(t)
	putRow(t, e.client, "listed", "x")
	e.watchGate = make(chan struct{})
	db := storetest.OpenOn(t, e.source, notes)
	db.Follow(func(c store.Change) {
		applied := db.Applied()
		if c.Rev <= applied && applied > 0 && len(c.Rows) == 1 && c.Rows[0].Revision > applied {
			t.Errorf("revision %d already counts as applied when its change arrives", c.Rev)
		}
	})
	first := putRow(t, e.client, "n/0", "x")
	for i := 1; i < n; i++ {
		putRow(t, e.client, fmt.Sprintf("n/%d", i), "x")
	}
	go close(e.watchGate)
	for i := range int64(n) {
		if err := db.Wait(t.Context(), first+i); err != nil {
			t.Fatal(err)
		}
		if _, ok := notes.Find(db.Snapshot(), fmt.Sprintf("n/%d", i)); !ok {
			t.Fatalf("revision %d counts as applied, but the mirror lacks its row", first+i)
		}
	}
}

// TestSharedEtcd checks that Wait returns for a revision that wrote only keys of another program.
func TestSharedEtcd(t *testing.T) {
	e := startFlakyEtcd(t)
	db := storetest.OpenOn(t, e.source, notes)
	resp, err := e.client.Put(t.Context(), "other/program", "x")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), store.WriteTimeout)
	defer cancel()
	if err := db.Wait(ctx, resp.Header.Revision); err != nil {
		t.Errorf("wait for a revision of another program: %v", err)
	}
	if got := ids(db.Snapshot(), ""); len(got) > 0 {
		t.Errorf("rows = %v, want none", got)
	}
}

// TestUnknownOutcome loses the response to a commit, and retries with the same invocation id. Update must return the
// first attempt's result if it was applied, and run the function again if it was not.
func TestUnknownOutcome(t *testing.T) {
	lost := errors.New("the response was lost")
	for _, tc := range []struct {
		name    string
		fn      func(tx *store.Tx, attempt int)
		between func(t *testing.T, c *clientv3.Client) // runs after the first attempt
		sent    bool                                   // the first attempt reached etcd
		runs    int                                    // how often fn runs in total
	}{
		{name: "applied", sent: true, runs: 1,
			fn: func(tx *store.Tx, attempt int) { notes.Put(tx, "a", &note{Text: fmt.Sprint("attempt", attempt)}) }},
		{name: "not applied", sent: false, runs: 2,
			fn: func(tx *store.Tx, attempt int) { notes.Put(tx, "a", &note{Text: fmt.Sprint("attempt", attempt)}) }},
		{name: "applied, and one row overwritten since", sent: true, runs: 1,
			fn: func(tx *store.Tx, attempt int) {
				notes.Put(tx, "a", &note{Text: fmt.Sprint("attempt", attempt)})
				notes.Put(tx, "log", &note{Text: fmt.Sprint("attempt", attempt)})
			},
			between: func(t *testing.T, c *clientv3.Client) { t.Helper(); putRow(t, c, "a", "other") }},
		{name: "applied, deletes only", sent: true, runs: 1,
			fn: func(tx *store.Tx, _ int) { notes.Delete(tx, "old") }},
		{name: "not applied, but an unchanged row exists", sent: false, runs: 2,
			fn: func(tx *store.Tx, attempt int) {
				notes.Put(tx, "old", &note{Text: "old"})
				notes.Put(tx, "a", &note{Text: fmt.Sprint("attempt", attempt)})
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := startFlakyEtcd(t)
			putRow(t, e.client, "old", "old")
			db := storetest.OpenOn(t, e.source, notes)
			runs := 0
			update := func() (string, error) {
				ctx := store.WithInvocation(t.Context(), "8f14e45f-ceea-467f-a8f9-8d5b5f1d0c11")
				return store.Update(ctx, db, func(tx *store.Tx) (string, error) {
					runs++
					tc.fn(tx, runs)
					return fmt.Sprint("result of attempt ", runs), nil
				})
			}
			if tc.sent {
				e.commitErr = func() error { e.commitErr = nil; return lost }
			} else {
				e.client.KV = rejectingKV{e.client.KV, lost}
			}
			if _, err := update(); !fault.Is(err, fault.Unavailable) {
				t.Fatalf("first attempt: %v, want Unavailable", err)
			}
			if kv, ok := e.client.KV.(rejectingKV); ok {
				e.client.KV = kv.KV
			}
			if tc.between != nil {
				tc.between(t, e.client)
			}
			got, err := update()
			if err != nil {
				t.Fatalf("second attempt: %v", err)
			}
			if want := fmt.Sprint("result of attempt ", tc.runs); got != want || runs != tc.runs {
				t.Errorf("%q after %d runs, want %q", got, runs, want)
			}
			if got, err := update(); err != nil || got != fmt.Sprint("result of attempt ", tc.runs+1) {
				t.Errorf("third attempt: %q, %v; want a new run", got, err)
			}
		})
	}
}

// rejectingKV is a KV whose transactions fail without reaching etcd.
type rejectingKV struct {
	clientv3.KV
	err error
}

func (kv rejectingKV) Txn(ctx context.Context) clientv3.Txn {
	return rejectedTxn{kv.KV.Txn(ctx), kv.err}
}

type rejectedTxn struct {
	clientv3.Txn
	err error
}

func (t rejectedTxn) If(...clientv3.Cmp) clientv3.Txn        { return t }
func (t rejectedTxn) Then(...clientv3.Op) clientv3.Txn       { return t }
func (t rejectedTxn) Commit() (*clientv3.TxnResponse, error) { return nil, t.err }

// TestMirrorEqualsEtcd commits random transactions and cancels watches in between. The mirror, its counts and a
// follower's copy end up equal to etcd's content.
func TestMirrorEqualsEtcd(t *testing.T) {
	e := startFlakyEtcd(t)
	db := storetest.OpenOn(t, e.source, notes)
	var mu sync.Mutex
	copied := map[string]note{}
	db.Follow(func(c store.Change) {
		mu.Lock()
		defer mu.Unlock()
		for _, r := range c.Rows {
			if old, ok := copied[r.Key]; ok != (r.Old != nil) || ok && old != *r.Old.(*note) {
				t.Errorf("change of %s: Old is %v, but the follower's copy has %v", r.Key, r.Old, old)
			}
			if r.New == nil {
				delete(copied, r.Key)
			} else {
				copied[r.Key] = *r.New.(*note)
			}
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		id := rapid.StringMatching(`[ab]/[1-9]`)
		for range rapid.IntRange(1, 20).Draw(rt, "steps") {
			if rapid.IntRange(0, 49).Draw(rt, "disconnect") == 37 {
				e.disconnect(nil)
			}
			write(t, db, func(tx *store.Tx) {
				for _, key := range rapid.SliceOfN(id, 1, 4).Draw(rt, "keys") {
					if rapid.Bool().Draw(rt, "delete") {
						notes.Delete(tx, key)
					} else {
						notes.Put(tx, key, &note{Text: rapid.String().Draw(rt, "text")})
					}
				}
			})
		}
		want := compareMirror(rt, e.client, db)
		mu.Lock()
		defer mu.Unlock()
		if !maps.Equal(copied, want) {
			rt.Errorf("the follower's copy differs (-etcd +copy):\n%s", cmp.Diff(want, copied))
		}
	})
}

// compareMirror compares the rows and counts of the mirror with the content of etcd, and returns the rows by key.
func compareMirror(rt *rapid.T, client *clientv3.Client, db *store.Store) map[string]note {
	rt.Helper()
	resp, err := client.Get(rt.Context(), storetest.Prefix+"/", clientv3.WithPrefix())
	if err != nil {
		rt.Fatal(err)
	}
	want := map[string]note{}
	counts := map[string]int{}
	for _, kv := range resp.Kvs {
		var n note
		if err := json.Unmarshal(kv.Value, &n); err != nil {
			rt.Fatal(err)
		}
		key := strings.TrimPrefix(string(kv.Key), storetest.Prefix+"/")
		want[key] = n
		id, _ := notes.ID(key)
		counts[id[:1]]++
	}
	got := map[string]note{}
	now := db.Snapshot()
	notes.Scan(now, "", "", func(id string, n *note) bool { got[notes.Key(id)] = *n; return true })
	if d := cmp.Diff(want, got); d != "" {
		rt.Errorf("etcd and the mirror differ (-etcd +mirror):\n%s", d)
	}
	for _, parent := range []string{"a", "b"} {
		if n := notes.Count(now, parent); n != counts[parent] {
			rt.Errorf("count of %s = %d, want %d", parent, n, counts[parent])
		}
	}
	return want
}

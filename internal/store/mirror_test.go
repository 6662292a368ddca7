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

// line is an etcd client whose watches can be cut and whose commits can lose their answers.
type line struct {
	client *clientv3.Client

	mu      sync.Mutex
	down    error // what Source answers
	cut     context.CancelFunc
	hold    chan struct{} // when not nil, watches begin once it is closed
	answers func() error  // after a commit: the error that the caller gets in its place
}

// newLine starts an etcd server behind a line.
func newLine(t *testing.T) *line {
	real := storetest.Etcd(t)
	l := &line{}
	l.client = clientv3.NewCtxClient(context.Background())
	l.client.KV = lossyKV{real.KV, l}
	l.client.Watcher = cutWatcher{real.Watcher, l}
	return l
}

func (l *line) source() (*clientv3.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.client, l.down
}

// lose makes the source fail and cuts the watch.
func (l *line) lose(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = err
	l.cut()
}

// mend undoes lose.
func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = nil
}

type cutWatcher struct {
	clientv3.Watcher
	line *line
}

func (w cutWatcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	ctx, cut := context.WithCancel(ctx)
	w.line.mu.Lock()
	w.line.cut = cut
	hold := w.line.hold
	w.line.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return w.Watcher.Watch(ctx, key, opts...)
}

type lossyKV struct {
	clientv3.KV
	line *line
}

func (kv lossyKV) Txn(ctx context.Context) clientv3.Txn { return lossyTxn{kv.KV.Txn(ctx), kv.line} }

type lossyTxn struct {
	clientv3.Txn
	line *line
}

func (t lossyTxn) If(cs ...clientv3.Cmp) clientv3.Txn   { return lossyTxn{t.Txn.If(cs...), t.line} }
func (t lossyTxn) Then(ops ...clientv3.Op) clientv3.Txn { return lossyTxn{t.Txn.Then(ops...), t.line} }
func (t lossyTxn) Commit() (*clientv3.TxnResponse, error) {
	resp, err := t.Txn.Commit()
	t.line.mu.Lock()
	defer t.line.mu.Unlock()
	if t.line.answers != nil {
		if lost := t.line.answers(); lost != nil {
			return nil, lost
		}
	}
	return resp, err
}

// record collects the changes that a follower sees, and lets a test wait for one.
type record struct {
	mu      sync.Mutex
	changes []store.Change
	arrived chan struct{}
}

func follow(db *store.Store) *record {
	r := &record{arrived: make(chan struct{}, 1)}
	db.Follow(func(c store.Change) {
		r.mu.Lock()
		r.changes = append(r.changes, c)
		r.mu.Unlock()
		select {
		case r.arrived <- struct{}{}:
		default:
		}
	})
	r.take()
	return r
}

// take returns the changes since the last take, as "+key", "*key" or "-key", a revision a word.
func (r *record) take() string {
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

// await takes until it has taken something.
func (r *record) await(t *testing.T) string {
	t.Helper()
	for {
		if got := r.take(); got != "" {
			return got
		}
		select {
		case <-r.arrived:
		case <-time.After(20 * time.Second):
			t.Fatal("the follower saw nothing for 20 s")
		}
	}
}

func mustPut(t testing.TB, c *clientv3.Client, id, text string) int64 {
	t.Helper()
	b, err := json.Marshal(note{Text: text})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Put(t.Context(), storetest.Prefix+"/"+notes.Key(id), string(b))
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

func mustDelete(t testing.TB, c *clientv3.Client, id string) int64 {
	t.Helper()
	resp, err := c.Delete(t.Context(), storetest.Prefix+"/"+notes.Key(id))
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

// TestLostEtcd: while etcd is away, rows stay, writes fail with Unavailable; when it is back, followers see
// what changed meanwhile and nothing else.
func TestLostEtcd(t *testing.T) {
	l := newLine(t)
	for _, id := range []string{"kept", "changed", "deleted"} {
		mustPut(t, l.client, id, "old")
	}
	db := storetest.OpenOn(t, l.source, notes)
	rec := follow(db)

	l.lose(errors.New("away"))
	_, err := store.Update(t.Context(), db, func(tx *store.Tx) (int, error) { notes.Put(tx, "x", &note{}); return 0, nil })
	if !fault.Is(err, fault.Unavailable) {
		t.Errorf("a write while etcd is away: %v, want Unavailable", err)
	}
	if got, want := ids(db.Snapshot(), ""), []string{"changed", "deleted", "kept"}; !slices.Equal(got, want) {
		t.Errorf("rows while etcd is away: %v, want %v", got, want)
	}
	mustPut(t, l.client, "changed", "new")
	mustPut(t, l.client, "added", "new")
	mustDelete(t, l.client, "deleted")
	if got := rec.take(); got != "" {
		t.Errorf("the follower saw %q while etcd was away", got)
	}

	l.mend()
	if got, want := rec.await(t), "+added,*changed,-deleted"; got != want {
		t.Errorf("the follower saw %q, want %q", got, want)
	}
	put(t, db, "after", "x")
	if got, want := rec.take(), "+after"; got != want {
		t.Errorf("afterwards the follower saw %q, want %q", got, want)
	}
}

// TestCompactedWatch: a watch that begins behind a compaction leads to another listing, of which only the
// difference is applied.
func TestCompactedWatch(t *testing.T) {
	l := newLine(t)
	mustPut(t, l.client, "kept", "old")
	db := storetest.OpenOn(t, l.source, notes)
	rec := follow(db)

	l.mu.Lock()
	l.hold = make(chan struct{})
	l.mu.Unlock()
	l.lose(errors.New("away"))
	mustPut(t, l.client, "listed", "1")
	l.mend()
	if got, want := rec.await(t), "+listed"; got != want { // listed; the watch is held before it begins
		t.Fatalf("the follower saw %q, want %q", got, want)
	}
	mustPut(t, l.client, "listed", "2")
	rev := mustPut(t, l.client, "missed", "1")
	if _, err := l.client.Compact(t.Context(), rev); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	close(l.hold)
	l.hold = nil
	l.mu.Unlock()
	if got, want := rec.await(t), "*listed,+missed"; got != want {
		t.Errorf("the follower saw %q, want %q", got, want)
	}
	put(t, db, "after", "x")
}

// TestCatchUp: a watch that starts thousands of revisions behind never shows a revision as applied before
// its rows are.
func TestCatchUp(t *testing.T) {
	const n = 3000 // etcd hands at most 1,000 revisions at once to a watcher that catches up
	l := newLine(t)
	mustPut(t, l.client, "listed", "x")
	l.hold = make(chan struct{})
	db := storetest.OpenOn(t, l.source, notes)
	db.Follow(func(c store.Change) {
		if applied := db.Applied(); c.Rev <= applied && applied > 0 && len(c.Rows) == 1 && c.Rows[0].Revision > applied {
			t.Errorf("revision %d is applied and comes as a change only now", c.Rev)
		}
	})
	first := mustPut(t, l.client, "n/0", "x")
	for i := 1; i < n; i++ {
		mustPut(t, l.client, fmt.Sprintf("n/%d", i), "x")
	}
	go close(l.hold)
	for i := range int64(n) {
		if err := db.Wait(t.Context(), first+i); err != nil {
			t.Fatal(err)
		}
		if _, ok := notes.Find(db.Snapshot(), fmt.Sprintf("n/%d", i)); !ok {
			t.Fatalf("revision %d is applied, but its row is not there", first+i)
		}
	}
}

// TestSharedEtcd: revisions that belong to somebody else's keys hold up nobody who waits for them.
func TestSharedEtcd(t *testing.T) {
	l := newLine(t)
	db := storetest.OpenOn(t, l.source, notes)
	resp, err := l.client.Put(t.Context(), "somebody/else", "x")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), store.WriteTimeout)
	defer cancel()
	if err := db.Wait(ctx, resp.Header.Revision); err != nil {
		t.Errorf("wait for a revision of another's key: %v", err)
	}
	if got := ids(db.Snapshot(), ""); len(got) > 0 {
		t.Errorf("rows = %v, want none of another's", got)
	}
}

// TestUnknownOutcome: a write whose answer was lost is answered, not done again, when the same invocation
// repeats it; one that was not done is done then.
func TestUnknownOutcome(t *testing.T) {
	lost := errors.New("the answer was lost")
	for _, tc := range []struct {
		name    string
		fn      func(tx *store.Tx, try int)
		between func(t *testing.T, c *clientv3.Client) // after the first try
		sent    bool                                   // the first try reached etcd
		runs    int                                    // of fn in all
	}{
		{name: "done", sent: true, runs: 1,
			fn: func(tx *store.Tx, try int) { notes.Put(tx, "a", &note{Text: fmt.Sprint("try", try)}) }},
		{name: "not done", sent: false, runs: 2,
			fn: func(tx *store.Tx, try int) { notes.Put(tx, "a", &note{Text: fmt.Sprint("try", try)}) }},
		{name: "done, and one of its rows overwritten since", sent: true, runs: 1,
			fn: func(tx *store.Tx, try int) {
				notes.Put(tx, "a", &note{Text: fmt.Sprint("try", try)})
				notes.Put(tx, "log", &note{Text: fmt.Sprint("try", try)})
			},
			between: func(t *testing.T, c *clientv3.Client) { mustPut(t, c, "a", "other") }},
		{name: "only deletes, done", sent: true, runs: 1,
			fn: func(tx *store.Tx, _ int) { notes.Delete(tx, "old") }},
		{name: "not done, but a row that it puts for its revision is there", sent: false, runs: 2,
			fn: func(tx *store.Tx, try int) {
				notes.Put(tx, "old", &note{Text: "old"})
				notes.Put(tx, "a", &note{Text: fmt.Sprint("try", try)})
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLine(t)
			mustPut(t, l.client, "old", "old")
			db := storetest.OpenOn(t, l.source, notes)
			runs := 0
			update := func() (string, error) {
				ctx := store.WithInvocation(t.Context(), "8f14e45f-ceea-467f-a8f9-8d5b5f1d0c11")
				return store.Update(ctx, db, func(tx *store.Tx) (string, error) {
					runs++
					tc.fn(tx, runs)
					return fmt.Sprint("result of try ", runs), nil
				})
			}
			if tc.sent {
				l.answers = func() error { l.answers = nil; return lost }
			} else {
				l.client.KV = refusingKV{l.client.KV, lost}
			}
			if _, err := update(); !fault.Is(err, fault.Unavailable) {
				t.Fatalf("first try: %v, want Unavailable", err)
			}
			if kv, ok := l.client.KV.(refusingKV); ok {
				l.client.KV = kv.KV
			}
			if tc.between != nil {
				tc.between(t, l.client)
			}
			got, err := update()
			if err != nil {
				t.Fatalf("second try: %v", err)
			}
			if want := fmt.Sprint("result of try ", tc.runs); got != want || runs != tc.runs {
				t.Errorf("%q after %d runs, want %q", got, runs, want)
			}
			if got, err := update(); err != nil || got != fmt.Sprint("result of try ", tc.runs+1) {
				t.Errorf("once settled, the invocation is an ordinary one: %q, %v", got, err)
			}
		})
	}
}

// refusingKV fails transactions before they reach etcd.
type refusingKV struct {
	clientv3.KV
	err error
}

func (kv refusingKV) Txn(ctx context.Context) clientv3.Txn {
	return refusedTxn{kv.KV.Txn(ctx), kv.err}
}

type refusedTxn struct {
	clientv3.Txn
	err error
}

func (t refusedTxn) If(...clientv3.Cmp) clientv3.Txn        { return t }
func (t refusedTxn) Then(...clientv3.Op) clientv3.Txn       { return t }
func (t refusedTxn) Commit() (*clientv3.TxnResponse, error) { return nil, t.err }

// TestMirrorEqualsEtcd makes random transactions with lost watches in between; the mirror, its counts and a
// follower's own copy end up equal to what etcd holds.
func TestMirrorEqualsEtcd(t *testing.T) {
	l := newLine(t)
	db := storetest.OpenOn(t, l.source, notes)
	var mu sync.Mutex
	copied := map[string]note{}
	db.Follow(func(c store.Change) {
		mu.Lock()
		defer mu.Unlock()
		for _, r := range c.Rows {
			if old, ok := copied[r.Key]; ok != (r.Old != nil) || ok && old != *r.Old.(*note) {
				t.Errorf("%s was %v before, says the change; the copy says %v", r.Key, r.Old, old)
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
			if rapid.IntRange(0, 49).Draw(rt, "lose") == 37 {
				l.lose(nil)
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
		resp, err := l.client.Get(t.Context(), storetest.Prefix+"/", clientv3.WithPrefix())
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
		mu.Lock()
		defer mu.Unlock()
		if !maps.Equal(copied, want) {
			rt.Errorf("the follower's copy differs (-etcd +copy):\n%s", cmp.Diff(want, copied))
		}
	})
}

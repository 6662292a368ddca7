package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
)

// note is the row of these tests.
type note struct {
	Text string
	Tag  string `json:",omitempty"`
}

var (
	notes = store.NewTable[note]("note", "test/note/").Counted()
	byTag = store.NewIndex(notes, "tag", func(_ string, n *note) string { return n.Tag })
)

// put writes one row in a transaction.
func put(tb testing.TB, db *store.Store, id, text string) {
	tb.Helper()
	write(tb, db, func(tx *store.Tx) { notes.Put(tx, id, &note{Text: text}) })
}

func write(tb testing.TB, db *store.Store, do func(*store.Tx)) {
	tb.Helper()
	_, err := store.Update(tb.Context(), db, func(tx *store.Tx) (struct{}, error) { do(tx); return struct{}{}, nil })
	if err != nil {
		tb.Fatalf("update: %v", err)
	}
}

// ids returns the ids of the rows under a prefix.
func ids(r store.Reader, prefix string) []string {
	var got []string
	notes.Scan(r, prefix, "", func(id string, _ *note) bool { got = append(got, id); return true })
	return got
}

// TestConflicts commits another transaction between a transaction's reads and its commit. The transaction runs again if
// and only if the other one has changed something that it has read.
func TestConflicts(t *testing.T) {
	db := storetest.Open(t, notes)
	read := func(id string) func(*store.Tx) { return func(tx *store.Tx) { notes.Find(tx, id) } }
	scan := func(prefix string) func(*store.Tx) { return func(tx *store.Tx) { ids(tx, prefix) } }
	empty := func(prefix string) func(*store.Tx) { return func(tx *store.Tx) { notes.Empty(tx, prefix) } }
	first := func(prefix, after string) func(*store.Tx) {
		return func(tx *store.Tx) {
			notes.Scan(tx, prefix, after, func(string, *note) bool { return false })
		}
	}
	set := func(id string) func(*store.Tx) {
		return func(tx *store.Tx) { notes.Put(tx, id, &note{Text: "other"}) }
	}
	del := func(id string) func(*store.Tx) { return func(tx *store.Tx) { notes.Delete(tx, id) } }

	for _, tc := range []struct {
		name        string
		reads       func(*store.Tx)
		other       func(*store.Tx)
		again       bool   // the transaction must run again
		writes      string // the id that the transaction writes; "own" if empty
		startsEmpty bool   // the rows a/1 and a/3 do not exist
	}{
		{name: "row read, then changed", reads: read("a/1"), other: set("a/1"), again: true},
		{name: "row read, another row changed", reads: read("a/1"), other: set("a/3")},
		{name: "row read, then deleted", reads: read("a/1"), other: del("a/1"), again: true},
		{name: "absent row read, then created", reads: read("a/2"), other: set("a/2"), again: true},
		{name: "absent row read, then deleted again", reads: read("a/2"), other: del("a/2")},
		{name: "range read, row added", reads: scan("a/"), other: set("a/2"), again: true},
		{name: "range read, row changed", reads: scan("a/"), other: set("a/3"), again: true},
		{name: "range read, row deleted", reads: scan("a/"), other: del("a/3"), again: true},
		{name: "range read, row added elsewhere", reads: scan("a/"), other: set("b/1")},
		{name: "empty range read, row added", reads: scan("c/"), other: set("c/1"), again: true},
		{name: "empty range read, row added elsewhere", reads: scan("c/"), other: set("d/1")},
		{name: "found empty, row added", reads: empty("c/"), other: set("c/1"), again: true},
		{name: "found not empty, later row added", reads: empty("a/"), other: set("a/4")},
		{name: "found not empty, first row deleted", reads: empty("a/"), other: del("a/1"), again: true},
		{name: "start of a range read, rest changed", reads: first("a/", ""), other: set("a/3")},
		{name: "start of a range read, earlier row added", reads: first("a/", ""), other: set("a/0"), again: true},
		{name: "range read from a row on, row added before it", reads: first("a/", "a/1"), other: set("a/0")},
		{name: "range read from a row on, row added in between", reads: first("a/", "a/1"), other: set("a/2"),
			again: true},
		{name: "nothing read, same row written", reads: func(*store.Tx) {}, other: set("a/1"), writes: "a/1"},
		{name: "empty store read, row added", reads: scan(""), other: set("x"), again: true, startsEmpty: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			write(t, db, func(tx *store.Tx) {
				for _, id := range ids(db.Snapshot(), "") {
					notes.Delete(tx, id)
				}
			})
			if !tc.startsEmpty {
				put(t, db, "a/1", "first")
				put(t, db, "a/3", "third")
			}
			own := tc.writes
			if own == "" {
				own = "own"
			}
			runs := 0
			write(t, db, func(tx *store.Tx) {
				tc.reads(tx)
				if runs++; runs == 1 {
					write(t, db, tc.other)
				}
				notes.Put(tx, own, &note{Text: "mine"})
			})
			if again := runs > 1; again != tc.again {
				t.Errorf("ran again: %v (%d runs), want %v", again, runs, tc.again)
			}
			if n, ok := notes.Find(db.Snapshot(), own); !ok || n.Text != "mine" {
				t.Errorf("row %s = %v, want the transaction's value", own, n)
			}
		})
	}
}

// TestReadsOwnWrites checks that reads and scans of a transaction return its own writes.
func TestReadsOwnWrites(t *testing.T) {
	db := storetest.Open(t, notes)
	for _, id := range []string{"a/1", "a/2", "a/4"} {
		put(t, db, id, "old")
	}
	write(t, db, func(tx *store.Tx) {
		notes.Put(tx, "a/0", &note{Text: "new"})
		notes.Put(tx, "a/3", &note{Text: "new"})
		notes.Put(tx, "a/4", &note{Text: "new"})
		notes.Put(tx, "a/5", &note{Text: "new"})
		notes.Put(tx, "b/1", &note{Text: "new"})
		notes.Delete(tx, "a/2")
		var got []string
		notes.Scan(tx, "a/", "", func(id string, n *note) bool { got = append(got, id+n.Text); return true })
		if want := []string{"a/0new", "a/1old", "a/3new", "a/4new", "a/5new"}; !slices.Equal(got, want) {
			t.Errorf("scan = %v, want %v", got, want)
		}
		got = nil
		notes.Scan(tx, "a/", "a/1", func(id string, n *note) bool { got = append(got, id); return len(got) < 2 })
		if want := []string{"a/3", "a/4"}; !slices.Equal(got, want) {
			t.Errorf("two after a/1 = %v, want %v", got, want)
		}
		if _, ok := notes.Find(tx, "a/2"); ok {
			t.Error("Find returns a deleted row")
		}
		if n, _ := notes.Find(tx, "a/3"); n == nil || n.Text != "new" {
			t.Errorf("a/3 = %v", n)
		}
	})
}

// TestUpdateErrorWritesNothing checks that Update returns the function's error unchanged and writes nothing.
func TestUpdateErrorWritesNothing(t *testing.T) {
	db := storetest.Open(t, notes)
	failure := errors.New("failure")
	_, err := store.Update(t.Context(), db, func(tx *store.Tx) (int, error) {
		notes.Put(tx, "a", &note{})
		return 0, failure
	})
	if err != failure {
		t.Errorf("err = %v, want the function's error", err)
	}
	if got := ids(db.Snapshot(), ""); len(got) > 0 {
		t.Errorf("rows = %v, want none", got)
	}
}

// TestVisibleOnReturn checks that when Update returns, the mirror and the followers have the row, even with
// concurrent writers.
func TestVisibleOnReturn(t *testing.T) {
	db := storetest.Open(t, notes)
	var followed sync.Map
	db.Follow(func(c store.Change) {
		for _, r := range c.Rows {
			followed.Store(r.Key, true)
		}
	})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 50 {
				id := fmt.Sprintf("w/%d-%d", w, i)
				put(t, db, id, "x")
				if _, ok := notes.Find(db.Snapshot(), id); !ok {
					t.Errorf("%s is acknowledged, but the mirror lacks it", id)
				}
				if _, ok := followed.Load(notes.Key(id)); !ok {
					t.Errorf("%s is acknowledged, but the follower has not seen it", id)
				}
			}
		})
	}
	wg.Wait()
	if n := notes.Count(db.Snapshot(), "w"); n != 400 {
		t.Errorf("count = %d, want 400", n)
	}
}

// TestFillOrDelete runs a transaction that adds a row to a folder concurrently with one that deletes the folder if it
// is empty, as RegisterInstance and DeleteService do. Exactly one of them commits.
func TestFillOrDelete(t *testing.T) {
	db := storetest.Open(t, notes)
	for round := range 30 {
		folder := fmt.Sprintf("folder%d", round)
		put(t, db, folder, "open")
		var filled, deleted bool
		var wg sync.WaitGroup
		wg.Go(func() {
			filled, _ = store.Update(t.Context(), db, func(tx *store.Tx) (bool, error) {
				if _, ok := notes.Find(tx, folder); !ok {
					return false, nil
				}
				notes.Put(tx, folder+"/1", &note{})
				return true, nil
			})
		})
		wg.Go(func() {
			deleted, _ = store.Update(t.Context(), db, func(tx *store.Tx) (bool, error) {
				if !notes.Empty(tx, folder+"/") {
					return false, nil
				}
				notes.Delete(tx, folder)
				return true, nil
			})
		})
		wg.Wait()
		if filled == deleted {
			t.Fatalf("round %d: filled %v, deleted %v; want exactly one", round, filled, deleted)
		}
	}
}

// TestNoLostUpdates checks that concurrent read-modify-write transactions lose no increment.
func TestNoLostUpdates(t *testing.T) {
	db := storetest.Open(t, notes)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				write(t, db, func(tx *store.Tx) {
					text := ""
					if n, ok := notes.Find(tx, "counter"); ok {
						text = n.Text
					}
					notes.Put(tx, "counter", &note{Text: text + "i"})
				})
			}
		})
	}
	wg.Wait()
	n, _ := notes.Find(db.Snapshot(), "counter")
	if n == nil || n.Text != strings.Repeat("i", 100) {
		t.Errorf("counter = %v, want 100 increments", n)
	}
}

// TestIndexAndCount checks that puts and deletes update indexes and counts, and a snapshot keeps those of its
// revision.
func TestIndexAndCount(t *testing.T) {
	db := storetest.Open(t, notes)
	tagged := func(r store.Reader, tag string) (got []string) {
		byTag.Scan(r, tag, func(id string, _ *note) bool { got = append(got, id); return true })
		return got
	}
	steps := []struct {
		do        func(*store.Tx)
		red, blue []string
		count     int // of a/
	}{
		{func(tx *store.Tx) {
			notes.Put(tx, "a/1", &note{Tag: "red"})
			notes.Put(tx, "a/2", &note{Tag: "blue"})
			notes.Put(tx, "b/1", &note{Tag: "red"})
			notes.Put(tx, "a/x/1", &note{})
		}, []string{"a/1", "b/1"}, []string{"a/2"}, 2},
		{func(tx *store.Tx) { notes.Put(tx, "a/1", &note{Tag: "blue"}) }, []string{"b/1"}, []string{"a/1", "a/2"}, 2},
		{func(tx *store.Tx) { notes.Put(tx, "a/2", &note{}) }, []string{"b/1"}, []string{"a/1"}, 2},
		{func(tx *store.Tx) { notes.Delete(tx, "a/1"); notes.Delete(tx, "b/1") }, nil, nil, 1},
		{func(tx *store.Tx) { notes.Delete(tx, "a/1"); notes.Delete(tx, "a/2") }, nil, nil, 0},
	}
	var snapshots []*store.Snapshot
	for _, s := range steps {
		write(t, db, s.do)
		snapshots = append(snapshots, db.Snapshot())
	}
	for i, s := range steps {
		red, blue, n := tagged(snapshots[i], "red"), tagged(snapshots[i], "blue"), notes.Count(snapshots[i], "a")
		if !slices.Equal(red, s.red) || !slices.Equal(blue, s.blue) || n != s.count {
			t.Errorf("step %d: red %v blue %v count %d, want %v %v %d", i, red, blue, n, s.red, s.blue, s.count)
		}
	}
}

// TestScanReverse checks that rows arrive in descending order, from any starting point.
func TestScanReverse(t *testing.T) {
	db := storetest.Open(t, notes)
	for _, id := range []string{"a/1", "a/2", "a/3", "b/1", "0"} {
		put(t, db, id, "")
	}
	for _, tc := range []struct{ prefix, before, want string }{
		{"a/", "", "a/3 a/2 a/1"},
		{"a/", "a/3", "a/2 a/1"},
		{"a/", "a/25", "a/2 a/1"}, // no row has this id
		{"a/", "a/1", ""},
		{"", "", "b/1 a/3 a/2 a/1 0"},
		{"c/", "", ""},
	} {
		var got []string
		notes.ScanReverse(db.Snapshot(), tc.prefix, tc.before, func(id string, _ *note) bool {
			got = append(got, id)
			return true
		})
		if g := strings.Join(got, " "); g != tc.want {
			t.Errorf("ScanReverse(%q, before %q) = %q, want %q", tc.prefix, tc.before, g, tc.want)
		}
	}
}

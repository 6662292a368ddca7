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

// put is a one-row transaction.
func put(t testing.TB, db *store.Store, id, text string) {
	t.Helper()
	write(t, db, func(tx *store.Tx) { notes.Put(tx, id, &note{Text: text}) })
}

func write(t testing.TB, db *store.Store, do func(*store.Tx)) {
	t.Helper()
	_, err := store.Update(t.Context(), db, func(tx *store.Tx) (struct{}, error) { do(tx); return struct{}{}, nil })
	if err != nil {
		t.Fatalf("update: %v", err)
	}
}

// ids lists the rows under a prefix.
func ids(r store.Reader, under string) []string {
	var got []string
	notes.Scan(r, under, "", func(id string, _ *note) bool { got = append(got, id); return true })
	return got
}

// TestConflicts lets another transaction commit between a transaction's reading and its commit: when the
// other changed something that was read, the transaction runs again, and only then.
func TestConflicts(t *testing.T) {
	db := storetest.Open(t, notes)
	read := func(id string) func(*store.Tx) { return func(tx *store.Tx) { notes.Find(tx, id) } }
	scan := func(under string) func(*store.Tx) { return func(tx *store.Tx) { ids(tx, under) } }
	empty := func(under string) func(*store.Tx) { return func(tx *store.Tx) { notes.Empty(tx, under) } }
	first := func(under, after string) func(*store.Tx) {
		return func(tx *store.Tx) {
			notes.Scan(tx, under, after, func(string, *note) bool { return false })
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
		again       bool
		alsoWrites  string // of the transaction itself, "own" when empty
		startsEmpty bool   // no rows a/1, a/3
	}{
		{name: "a row read, changed", reads: read("a/1"), other: set("a/1"), again: true},
		{name: "a row read, another changed", reads: read("a/1"), other: set("a/3")},
		{name: "a row read, deleted", reads: read("a/1"), other: del("a/1"), again: true},
		{name: "an absence read, filled", reads: read("a/2"), other: set("a/2"), again: true},
		{name: "an absence read, deleted again", reads: read("a/2"), other: del("a/2")},
		{name: "a range read, joined", reads: scan("a/"), other: set("a/2"), again: true},
		{name: "a range read, a row changed", reads: scan("a/"), other: set("a/3"), again: true},
		{name: "a range read, a row deleted", reads: scan("a/"), other: del("a/3"), again: true},
		{name: "a range read, joined elsewhere", reads: scan("a/"), other: set("b/1")},
		{name: "an empty range read, joined", reads: scan("c/"), other: set("c/1"), again: true},
		{name: "an empty range read, joined elsewhere", reads: scan("c/"), other: set("d/1")},
		{name: "emptiness read, joined", reads: empty("c/"), other: set("c/1"), again: true},
		{name: "no emptiness read, a later row joins", reads: empty("a/"), other: set("a/4")},
		{name: "no emptiness read, its witness goes", reads: empty("a/"), other: del("a/1"), again: true},
		{name: "the start of a range read, the rest changes", reads: first("a/", ""), other: set("a/3")},
		{name: "the start of a range read, one joins before", reads: first("a/", ""), other: set("a/0"), again: true},
		{name: "from behind a row, one before joins", reads: first("a/", "a/1"), other: set("a/0")},
		{name: "from behind a row, one between joins", reads: first("a/", "a/1"), other: set("a/2"), again: true},
		{name: "nothing read: a blind put wins over a put", reads: func(*store.Tx) {}, other: set("a/1"), alsoWrites: "a/1"},
		{name: "everything empty", reads: scan(""), other: set("x"), again: true, startsEmpty: true},
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
			own := tc.alsoWrites
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
				t.Errorf("the transaction's own row is %v", n)
			}
		})
	}
}

// TestReadsOwnWrites: within a transaction, reads and scans show what it wrote.
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
			t.Errorf("two behind a/1 = %v, want %v", got, want)
		}
		if _, ok := notes.Find(tx, "a/2"); ok {
			t.Error("a deleted row is still found")
		}
		if n, _ := notes.Find(tx, "a/3"); n == nil || n.Text != "new" {
			t.Errorf("a/3 = %v", n)
		}
	})
}

// TestUpdateErrorWritesNothing: an error of the function is the caller's, and leaves no trace.
func TestUpdateErrorWritesNothing(t *testing.T) {
	db := storetest.Open(t, notes)
	mine := errors.New("mine")
	_, err := store.Update(t.Context(), db, func(tx *store.Tx) (int, error) {
		notes.Put(tx, "a", &note{})
		return 0, mine
	})
	if err != mine {
		t.Errorf("err = %v, want the function's own", err)
	}
	if got := ids(db.Snapshot(), ""); len(got) > 0 {
		t.Errorf("rows = %v, want none", got)
	}
}

// TestVisibleAtOnce: when Update returns, the mirror and the followers have the row, whoever writes beside.
func TestVisibleAtOnce(t *testing.T) {
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
					t.Errorf("%s is acknowledged and not in the mirror", id)
				}
				if _, ok := followed.Load(notes.Key(id)); !ok {
					t.Errorf("%s is acknowledged and has not reached the follower", id)
				}
			}
		})
	}
	wg.Wait()
	if n := notes.Count(db.Snapshot(), "w"); n != 400 {
		t.Errorf("count = %d, want 400", n)
	}
}

// TestEmptyOrFilled has many try to fill a folder and one to close it once it is empty, as RegisterInstance
// and DeleteService do: never do both win.
func TestEmptyOrFilled(t *testing.T) {
	db := storetest.Open(t, notes)
	for round := range 30 {
		folder := fmt.Sprintf("folder%d", round)
		put(t, db, folder, "open")
		var filled, closed bool
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
			closed, _ = store.Update(t.Context(), db, func(tx *store.Tx) (bool, error) {
				if !notes.Empty(tx, folder+"/") {
					return false, nil
				}
				notes.Delete(tx, folder)
				return true, nil
			})
		})
		wg.Wait()
		if filled == closed {
			t.Fatalf("round %d: filled %v, closed %v; exactly one must win", round, filled, closed)
		}
	}
}

// TestCounters: increments by read and write lose none.
func TestCounters(t *testing.T) {
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
		t.Errorf("counter = %v, want 100 strokes", n)
	}
}

// TestIndexAndCount: both follow puts, changes and deletes, and a snapshot keeps its own.
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
	var kept []*store.Snapshot
	for _, s := range steps {
		write(t, db, s.do)
		kept = append(kept, db.Snapshot())
	}
	for i, s := range steps {
		if red, blue, n := tagged(kept[i], "red"), tagged(kept[i], "blue"), notes.Count(kept[i], "a"); !slices.Equal(red, s.red) || !slices.Equal(blue, s.blue) || n != s.count {
			t.Errorf("step %d: red %v blue %v count %d, want %v %v %d", i, red, blue, n, s.red, s.blue, s.count)
		}
	}
}

// TestScanReverse: newest first, from anywhere.
func TestScanReverse(t *testing.T) {
	db := storetest.Open(t, notes)
	for _, id := range []string{"a/1", "a/2", "a/3", "b/1", "0"} {
		put(t, db, id, "")
	}
	for _, tc := range []struct{ under, before, want string }{
		{"a/", "", "a/3 a/2 a/1"},
		{"a/", "a/3", "a/2 a/1"},
		{"a/", "a/25", "a/2 a/1"}, // where a row was that is gone
		{"a/", "a/1", ""},
		{"", "", "b/1 a/3 a/2 a/1 0"},
		{"c/", "", ""},
	} {
		var got []string
		notes.ScanReverse(db.Snapshot(), tc.under, tc.before, func(id string, _ *note) bool { got = append(got, id); return true })
		if g := strings.Join(got, " "); g != tc.want {
			t.Errorf("ScanReverse(%q, before %q) = %q, want %q", tc.under, tc.before, g, tc.want)
		}
	}
}

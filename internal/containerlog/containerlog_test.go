package containerlog

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// testLog is a log with a limited file size, and the file to which its program writes.
type testLog struct {
	t       *testing.T
	dir     string
	w       *Writer
	program *os.File
	now     time.Time
}

func newTestLog(t *testing.T, max int64) *testLog {
	t.Helper()
	b := &testLog{t: t, dir: filepath.Join(t.TempDir(), "task", "main"), now: time.UnixMilli(1700000000000)}
	b.reopen(max)
	var err error
	if b.program, err = os.OpenFile(File(b.dir), os.O_WRONLY|os.O_APPEND, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.program.Close(); b.w.close() })
	return b
}

func (b *testLog) reopen(max int64) {
	b.t.Helper()
	if b.w != nil {
		b.w.close()
	}
	var err error
	if b.w, err = open(b.dir, max, b.now); err != nil {
		b.t.Fatal(err)
	}
}

// prints writes output as the program does, and records it one second later.
func (b *testLog) prints(text string) {
	b.t.Helper()
	if _, err := b.program.WriteString(text); err != nil {
		b.t.Fatal(err)
	}
	b.now = b.now.Add(time.Second)
	if err := b.w.Record(b.now); err != nil {
		b.t.Fatal(err)
	}
}

// reads returns all lines from a position on as SECOND:TEXT.
func (b *testLog) reads(pos int64) string {
	b.t.Helper()
	var all []string
	for {
		lines, next, err := Read(b.dir, pos)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, l := range lines {
			all = append(all, fmt.Sprintf("%d:%s", (l.Time-1700000000000)/1000, l.Text))
		}
		if next == pos {
			return strings.Join(all, " ")
		}
		pos = next
	}
}

// TestRead checks that lines are complete and have the time of their start, across rotations and restarts of the
// writer.
func TestRead(t *testing.T) {
	b := newTestLog(t, 24)
	want := func(what, lines string) {
		t.Helper()
		if got := b.reads(0); got != lines {
			t.Errorf("%s: got %q, want %q", what, got, lines)
		}
	}
	want("an empty log", "")
	b.prints("one\ntwo\n")
	want("two lines", "1:one 1:two")
	b.prints("th")
	want("an unfinished line", "1:one 1:two")
	b.prints("ree\r\nfour\n") // 20 bytes: the file is rotated
	want("after a rotation", "1:one 1:two 2:three 3:four")
	b.prints("five\n")
	want("in the file after a rotation", "1:one 1:two 2:three 3:four 4:five")
	b.reopen(24)
	b.prints("six\n")
	want("after a restart", "1:one 1:two 2:three 3:four 4:five 5:six")
	b.prints("seven and eight\n")
	b.prints("nine is longer\n")
	b.prints("ten is longer too\n")
	want("after old lines were removed", "5:six 6:seven and eight 8:ten is longer too")
	if err := b.w.Close(true); err != nil {
		t.Fatal(err)
	}
}

// TestEnded checks that the last line is returned without a line end once the container has ended.
func TestEnded(t *testing.T) {
	b := newTestLog(t, MaxFile)
	b.prints("one\nlast words")
	if got := b.reads(0); got != "1:one" {
		t.Errorf("before the end: got %q, want the first line only", got)
	}
	if err := b.w.Close(true); err != nil {
		t.Fatal(err)
	}
	if got := b.reads(0); got != "1:one 1:last words" {
		t.Errorf("after the end: got %q, want both lines", got)
	}
}

// TestLongLines checks that a long line is returned in pieces of MaxLine.
func TestLongLines(t *testing.T) {
	b := newTestLog(t, MaxFile)
	long := strings.Repeat("x", MaxLine+10)
	b.prints("a\n" + long + "\nb\n")
	lines, next, err := Read(b.dir, 0)
	for err == nil {
		var more []Line
		pos := next
		if more, next, err = Read(b.dir, next); next == pos {
			break
		}
		lines = append(lines, more...)
	}
	if err != nil || len(lines) != 4 || len(lines[1].Text) != MaxLine || len(lines[2].Text) != 10 ||
		string(lines[3].Text) != "b" {
		t.Errorf("got %d lines, error %v; want 4 lines, the second and third from one long line", len(lines), err)
	}
}

// TestSeek checks that Seek finds the first line of each second, in every file.
func TestSeek(t *testing.T) {
	for _, max := range []int64{1 << 20, 40} {
		b := newTestLog(t, max)
		for i := range 20 {
			b.prints(fmt.Sprintf("line %d\n", i+1))
		}
		all := b.reads(0)
		first := strings.Fields(all)[0]
		for second := range 23 {
			pos, err := Seek(b.dir, b.now.UnixMilli()-int64(20-second)*1000)
			if err != nil {
				t.Fatal(err)
			}
			got := b.reads(pos)
			want := fmt.Sprintf("%d:line", second)
			switch {
			case second > 20 && got == "", second <= 20 && strings.HasPrefix(got, want):
			// rotated away: the first line that remains
			case !strings.Contains(" "+all, " "+want+" ") && strings.HasPrefix(got, first):
			default:
				t.Errorf("max %d, second %d: got %q, want a line of that second", max, second, got)
			}
		}
	}
}

// TestCrashDuringRotation checks that a log can be continued after a crash at any step, and that no line is read twice.
func TestCrashDuringRotation(t *testing.T) {
	for name, crash := range map[string]func(b *testLog){
		"marks moved": func(b *testLog) {
			os.Rename(nth(b.dir, "times", 0), filepath.Join(b.dir, moving))
		},
		"copied": func(b *testLog) {
			os.Rename(nth(b.dir, "times", 0), filepath.Join(b.dir, moving))
			if err := b.w.archive(0, b.now); err != nil {
				b.t.Fatal(err)
			}
		},
		"truncated": func(b *testLog) {
			os.Rename(nth(b.dir, "times", 0), filepath.Join(b.dir, moving))
			if err := b.w.archive(0, b.now); err != nil {
				b.t.Fatal(err)
			}
			os.Truncate(File(b.dir), 0)
		},
		"part of a mark": func(b *testLog) {
			f, _ := os.OpenFile(nth(b.dir, "times", 0), os.O_APPEND|os.O_WRONLY, 0)
			f.Write([]byte{1, 2, 3})
			f.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTestLog(t, 1<<20)
			b.prints("one\n")
			b.prints("two\n")
			crash(b)
			b.reopen(1 << 20)
			b.prints("three\n")
			if got := b.reads(0); got != "1:one 2:two 3:three" {
				t.Errorf("got %q, want three lines", got)
			}
		})
	}
}

// TestReadDuringRotation reads while a program prints as fast as it can and the file is rotated repeatedly. Lines must
// be complete, in order, and returned at most once.
func TestReadDuringRotation(t *testing.T) {
	b := newTestLog(t, 4<<10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		rng := rand.New(rand.NewPCG(1, 2))
		for n := 0; n < 20000; {
			var text bytes.Buffer
			for range 1 + rng.IntN(50) {
				fmt.Fprintf(&text, "line %d\n", n)
				n++
			}
			b.program.Write(text.Bytes())
			if err := b.w.Record(time.Now()); err != nil {
				t.Error(err)
				return
			}
		}
		if err := b.w.Close(true); err != nil {
			t.Error(err)
		}
	}()
	pos, last, lines, at := int64(0), -1, 0, int64(0)
	for ended := false; ; {
		got, next, err := Read(b.dir, pos)
		if err != nil && err != ErrBusy {
			t.Fatal(err)
		}
		for _, l := range got {
			n := 0
			if _, err := fmt.Sscanf(string(l.Text), "line %d", &n); err != nil || n <= last ||
				string(l.Text) != fmt.Sprintf("line %d", n) || l.Time < at {
				t.Fatalf("read %q with time %d after line %d with time %d; want a complete later line", l.Text, l.Time, last, at)
			}
			last, at = n, l.Time
			lines++
		}
		if next == pos && ended && err == nil {
			break
		}
		pos = next
		select {
		case <-done:
			ended = true
		default:
		}
	}
	if last < 19999 || lines < 100 {
		t.Errorf("read %d lines, the last is %d; want at least 100, the last 19999", lines, last)
	}
	var size int64
	for n := range files {
		info, err := os.Stat(nth(b.dir, "log", n))
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > 3*(4<<10)+2<<10 {
		t.Errorf("the log uses %d bytes, more than three files", size)
	}
}

// TestCatalog checks that logs are found with their streams after a restart, and can be removed.
func TestCatalog(t *testing.T) {
	root := filepath.Join(t.TempDir(), "logs")
	c, err := OpenCatalog(root)
	if err != nil {
		t.Fatal(err)
	}
	web := &Stream{Region: "r", Group: "web", Name: "p/app/t1", Created: 5}
	for _, e := range []struct {
		task, container string
		stream          *Stream
	}{{"t1", "app", web}, {"t1", "side", nil}, {"t2", "app", &Stream{Region: "r", Group: "web", Name: "a"}}, {"t1", "app",
		nil}} {
		if err := c.Declare(e.task, e.container, e.stream); err != nil {
			t.Fatal(err)
		}
	}
	show := func(entries []*Entry) (s string) {
		for _, e := range entries {
			s += e.TaskID + "/" + e.Container + " "
		}
		return s
	}
	for _, c := range []*Catalog{c, must(OpenCatalog(root))} {
		if got := show(c.Task("t1")) + "| " + show(c.Group("r", "web")) + "| " +
			show(c.Group("x", "web")); got != "t1/app t1/side | t2/app t1/app | " {
			t.Errorf("the catalog lists %s", got)
		}
		if got := c.Task("t1")[0].Stream; *got != *web {
			t.Errorf("the stream is %+v, want %+v", got, web)
		}
	}
	if err := c.Remove(c.Task("t1")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "t1")); !os.IsNotExist(err) || show(c.All()) != "t2/app " {
		t.Errorf("after the removal of t1: Stat returns %v, the catalog lists %s, want t2/app", err, show(c.All()))
	}
}

func must(c *Catalog, err error) *Catalog {
	if err != nil {
		panic(err)
	}
	return c
}

// TestDamagedLog checks that the intact rest of a damaged log can be read, and that other logs in the same Merge are
// not affected.
func TestDamagedLog(t *testing.T) {
	for name, tc := range map[string]struct {
		damage func(dir string) error
		want   string
	}{
		"no marks":       {func(dir string) error { return os.Remove(filepath.Join(dir, "times")) }, ""},
		"empty marks":    {func(dir string) error { return os.Truncate(filepath.Join(dir, "times"), 0) }, ""},
		"part of a mark": {func(dir string) error { return os.Truncate(filepath.Join(dir, "times"), 2*markSize+3) }, "1:one"},
		"fewer bytes":    {func(dir string) error { return os.Truncate(File(dir), 5) }, "1:one 2:t"},
		"no bytes":       {func(dir string) error { return os.Remove(File(dir)) }, ""},
		"ended during a rotation": {func(dir string) error {
			return os.Rename(filepath.Join(dir, "times"), filepath.Join(dir, moving))
		}, "1:one 2:two"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTestLog(t, 1000)
			b.prints("one\n")
			b.prints("two\n")
			if err := b.w.Close(true); err != nil {
				t.Fatal(err)
			}
			if err := tc.damage(b.dir); err != nil {
				t.Fatal(err)
			}
			if got := b.reads(0); got != tc.want {
				t.Errorf("read %q, want %q", got, tc.want)
			}
			good := newTestLog(t, 1000)
			good.prints("good\n")
			events, _, more, err := Merge(t.Context(), []*Source{{ID: "a", Dir: b.dir}, {ID: "b", Dir: good.dir}},
				Query{Limit: 10, Bytes: 1000})
			if err != nil || more || !slices.ContainsFunc(events, func(e Event) bool { return string(e.Text) == "good" }) {
				t.Errorf("Merge with an intact log: %d events, more %v, error %v; want the line of the intact log",
					len(events), more, err)
			}
		})
	}
}

// TestMergeMemory checks that reading a few lines of many logs allocates little memory.
func TestMergeMemory(t *testing.T) {
	const logs = 100
	root := t.TempDir()
	var sources []*Source
	for n := range logs {
		dir := filepath.Join(root, fmt.Sprint(n), "main")
		w, err := Open(dir, time.UnixMilli(1700000000000))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(File(dir), []byte(strings.Repeat("a line\n", 3)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(true); err != nil {
			t.Fatal(err)
		}
		sources = append(sources, &Source{ID: fmt.Sprint(n), Dir: dir})
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	events, _, _, err := Merge(t.Context(), sources, Query{Limit: 3 * logs, Bytes: 1 << 20})
	runtime.ReadMemStats(&after)
	if err != nil || len(events) != 3*logs {
		t.Fatalf("Merge returned %d events, error %v; want %d events", len(events), err, 3*logs)
	}
	if each := (after.TotalAlloc - before.TotalAlloc) / logs; each > 16<<10 {
		t.Errorf("reading three lines of a log allocated %d bytes, want at most 16384", each)
	}
}

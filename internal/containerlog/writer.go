package containerlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Writer notes when a container's log grows, and keeps it within its bounds. One at a time may be open for a log; it is
// for one goroutine.
type Writer struct {
	dir   string
	max   int64 // of the file: MaxFile
	log   *os.File
	times *os.File
	base  int64 // position of the file's first byte
	seen  int64 // position up to which marks are made
	last  int64 // the newest time
	marks int
}

// moving is where the marks are while files are cut, so that a reader who comes then waits.
const moving = "times.moving"

// Open begins or goes on with a log, after a crash too.
func Open(dir string, now time.Time) (*Writer, error) { return open(dir, MaxFile, now) }

func open(dir string, max int64, now time.Time) (w *Writer, err error) {
	w = &Writer{dir: dir, max: max}
	defer func() {
		if err != nil {
			w.close()
			err = fmt.Errorf("open a log: %w", err)
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return w, err
	}
	if w.log, err = os.OpenFile(File(dir), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return w, err
	}
	// A crash amid cutting: the marks are those of the whole file, as long as it is.
	if err := os.Rename(filepath.Join(dir, moving), nth(dir, "times", 0)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return w, err
	}
	return w, w.resume(now)
}

// resume finds out how far the marks go.
func (w *Writer) resume(now time.Time) error {
	text, err := os.ReadFile(nth(w.dir, "times", 0))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w.marks = len(text) / markSize // a piece at the end is of a crash
	size, err := w.size()
	if err != nil {
		return err
	}
	if w.marks == 0 {
		return w.begin(0, now)
	}
	first, last := parseMark(text), parseMark(text[(w.marks-1)*markSize:])
	w.base, w.seen, w.last = first.pos, last.pos, last.time
	if w.seen > w.base+size { // the file was cut, and its new marks were not written
		return w.begin(w.seen, now)
	}
	if w.times, err = os.OpenFile(nth(w.dir, "times", 0), os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return err
	}
	return w.times.Truncate(int64(w.marks * markSize))
}

func (w *Writer) size() (int64, error) {
	info, err := w.log.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// begin writes the marks of a file that begins at a position.
func (w *Writer) begin(base int64, now time.Time) error {
	w.last = max(w.last, now.UnixMilli())
	if err := writeMarks(w.dir, 0, []mark{{base, w.last}}); err != nil {
		return err
	}
	if w.times != nil {
		w.times.Close()
	}
	var err error
	w.times, err = os.OpenFile(nth(w.dir, "times", 0), os.O_RDWR|os.O_APPEND, 0o600)
	w.base, w.seen, w.marks = base, base, 1
	return errors.Join(err, remove(filepath.Join(w.dir, moving)))
}

func remove(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeMarks replaces a file of marks in one step.
func writeMarks(dir string, n int, marks []mark) error {
	var text []byte
	for _, m := range marks {
		text = append(text, m.bytes()...)
	}
	tmp := filepath.Join(dir, "times.new")
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, nth(dir, "times", n))
}

// Append writes for a container that does not write into the file itself.
func (w *Writer) Append(text []byte) error {
	if _, err := w.log.Write(text); err != nil {
		return fmt.Errorf("write to a log: %w", err)
	}
	return nil
}

// End is the position at which the next byte will be.
func (w *Writer) End() (int64, error) {
	size, err := w.size()
	return w.base + size, err
}

// Rewind takes back what was appended behind a position and not looked at.
func (w *Writer) Rewind(position int64) error {
	end, err := w.End()
	if err != nil || end <= position || position < max(w.base, w.seen) {
		return err
	}
	return w.log.Truncate(position - w.base)
}

// Look takes in what the container has printed since the last look.
func (w *Writer) Look(now time.Time) error {
	size, err := w.size()
	if err != nil {
		return err
	}
	end := w.base + size
	if end < w.seen { // somebody else has cut the file
		if err := w.begin(w.seen, now); err != nil {
			return err
		}
		end = w.base + size
	}
	if end > w.seen {
		if err := w.mark(end, now); err != nil {
			return err
		}
	}
	// Before it is full, so that what comes between two looks is seldom cut away unread.
	if size > w.max*3/4 || w.marks >= maxMarks {
		return w.cut(now)
	}
	return nil
}

// mark notes that the bytes before a position are seen now.
func (w *Writer) mark(end int64, now time.Time) error {
	w.last = max(w.last, now.UnixMilli())
	if _, err := w.times.Write(mark{end, w.last}.bytes()); err != nil {
		return errors.Join(err, w.times.Truncate(int64(w.marks*markSize))) // no piece of a mark
	}
	w.marks++
	w.seen = end
	return nil
}

// cut moves what the file holds to its predecessor, and begins anew. What the program writes between the copy and
// the cut is lost.
func (w *Writer) cut(now time.Time) error {
	failed := func(err error) error { return fmt.Errorf("cut a log: %w", err) }
	if err := os.Rename(nth(w.dir, "times", 0), filepath.Join(w.dir, moving)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed(err)
	}
	for n := files - 1; n > 1; n-- {
		for _, name := range []string{"times", "log"} {
			if err := os.Rename(nth(w.dir, name, n-1), nth(w.dir, name, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return failed(err)
			}
		}
	}
	from := max(0, w.seen-w.base-w.max)
	problem := w.keep(from, now)
	if problem != nil { // a full disk, most likely: the log is cut all the more
		problem = errors.Join(problem, remove(nth(w.dir, "times", 1)), remove(nth(w.dir, "log", 1)))
	}
	if err := w.log.Truncate(0); err != nil { // programs append, so they go on at the new end
		return failed(errors.Join(problem, err))
	}
	if err := errors.Join(problem, w.begin(w.seen, now)); err != nil {
		return failed(err)
	}
	return nil
}

// keep makes the file's bytes from an offset on, and their marks, its predecessor.
func (w *Writer) keep(from int64, now time.Time) error {
	if err := w.copy(from, now); err != nil {
		return err
	}
	marks, err := w.marksFrom(w.base + from)
	if err != nil {
		return err
	}
	return writeMarks(w.dir, 1, marks)
}

// rounds bounds how often copy looks whether more has come.
const rounds = 8

// copy writes the file's bytes from an offset on to its predecessor, with what comes while it does so: what comes
// between the last look and the cut is lost. A program that is faster than the copy is not waited for.
func (w *Writer) copy(from int64, now time.Time) (err error) {
	to, err := os.OpenFile(nth(w.dir, "log", 1), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	for n := 1; ; n++ {
		if _, err := io.Copy(to, io.NewSectionReader(w.log, from, w.seen-w.base-from)); err != nil {
			return err
		}
		from = w.seen - w.base
		size, err := w.size()
		if err != nil || size <= from || n == rounds {
			return err
		}
		if err := w.mark(w.base+size, now); err != nil {
			return err
		}
	}
}

// marksFrom are the marks of the file as one that begins at a position.
func (w *Writer) marksFrom(base int64) ([]mark, error) {
	text, err := os.ReadFile(filepath.Join(w.dir, moving))
	if err != nil {
		return nil, err
	}
	marks := []mark{{pos: base}}
	for ; len(text) >= markSize; text = text[markSize:] {
		if m := parseMark(text); m.pos <= base {
			marks[0].time = m.time
		} else {
			marks = append(marks, m)
		}
	}
	return marks, nil
}

// Close takes a last look. With ended, it says that nothing more will come.
func (w *Writer) Close(ended bool) error {
	err := w.Look(time.Now())
	if ended {
		// Before it is said that nothing will come, since nobody looks after the log then.
		for _, f := range []*os.File{w.log, w.times} {
			err = errors.Join(err, f.Sync())
		}
		err = errors.Join(err, os.WriteFile(filepath.Join(w.dir, endedFile), nil, 0o600))
	}
	w.close()
	return err
}

func (w *Writer) close() {
	for _, f := range []*os.File{w.log, w.times} {
		if f != nil {
			f.Close()
		}
	}
}

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

// Writer records the times of a container's output and rotates its log. At most one Writer may be open for a log. It is
// not safe for concurrent use.
type Writer struct {
	dir   string
	max   int64 // maximum size of the file in bytes: MaxFile, or less in tests
	log   *os.File
	times *os.File
	base  int64 // position of the file's first byte
	seen  int64 // position of the last mark
	last  int64 // time of the last mark
	marks int
}

// moving is the name of the file of marks during a rotation. Readers wait while it has this name.
const moving = "times.moving"

// Open opens a log for writing and creates it if necessary. It repairs a log after a crash. now is the current time.
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
	// After a crash during a rotation, these marks cover the whole file, whatever its length.
	if err := os.Rename(filepath.Join(dir, moving), nth(dir, "times", 0)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return w, err
	}
	return w, w.resume(now)
}

// resume reads the existing marks and drops those that are invalid.
func (w *Writer) resume(now time.Time) error {
	text, err := os.ReadFile(nth(w.dir, "times", 0))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w.marks = len(text) / markSize // a crash may leave part of a mark at the end
	size, err := w.size()
	if err != nil {
		return err
	}
	if w.marks == 0 {
		return w.begin(0, now)
	}
	first, last := parseMark(text), parseMark(text[(w.marks-1)*markSize:])
	w.base, w.seen, w.last = first.pos, last.pos, last.time
	if w.seen > w.base+size { // the file was truncated, but its new marks were not written
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

// begin starts the marks of a file whose first byte has the position base.
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

// writeMarks replaces a file of marks atomically.
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

// Append writes output for a container that does not write to the file itself.
func (w *Writer) Append(text []byte) error {
	if _, err := w.log.Write(text); err != nil {
		return fmt.Errorf("write to a log: %w", err)
	}
	return nil
}

// End returns the position of the next byte.
func (w *Writer) End() (int64, error) {
	size, err := w.size()
	return w.base + size, err
}

// Rewind removes output after a position that was appended but not yet recorded.
func (w *Writer) Rewind(position int64) error {
	end, err := w.End()
	if err != nil || end <= position || position < max(w.base, w.seen) {
		return err
	}
	return w.log.Truncate(position - w.base)
}

// Record records the time of the output since the last call, and rotates the log if necessary.
func (w *Writer) Record(now time.Time) error {
	size, err := w.size()
	if err != nil {
		return err
	}
	end := w.base + size
	if end < w.seen { // another process has truncated the file
		if err := w.begin(w.seen, now); err != nil {
			return err
		}
		end = w.base + size
	}
	if end > w.seen {
		if err := w.addMark(end, now); err != nil {
			return err
		}
	}
	// rotate keeps only the last w.max bytes. Rotate before the file is full, so that output is rarely lost.
	if size > w.max*3/4 || w.marks >= maxMarks {
		return w.rotate(now)
	}
	return nil
}

// addMark records that the bytes before a position were printed by now.
func (w *Writer) addMark(end int64, now time.Time) error {
	w.last = max(w.last, now.UnixMilli())
	if _, err := w.times.Write(mark{end, w.last}.bytes()); err != nil {
		return errors.Join(err, w.times.Truncate(int64(w.marks*markSize))) // remove a partly written mark
	}
	w.marks++
	w.seen = end
	return nil
}

// rotate moves the content of the file to the next older one and truncates the file. Output that the program writes
// between the copy and the truncation is lost.
func (w *Writer) rotate(now time.Time) error {
	failed := func(err error) error { return fmt.Errorf("rotate a log: %w", err) }
	if err := os.Rename(nth(w.dir, "times", 0), filepath.Join(w.dir, moving)); err != nil &&
		!errors.Is(err, fs.ErrNotExist) {
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
	problem := w.archive(from, now)
	if problem != nil { // most likely the disk is full, so truncating is even more important
		problem = errors.Join(problem, remove(nth(w.dir, "times", 1)), remove(nth(w.dir, "log", 1)))
	}
	if err := w.log.Truncate(0); err != nil { // programs append, so they continue at the new end
		return failed(errors.Join(problem, err))
	}
	if err := errors.Join(problem, w.begin(w.seen, now)); err != nil {
		return failed(err)
	}
	return nil
}

// archive copies the file's bytes from an offset on, and their marks, to the next older file.
func (w *Writer) archive(from int64, now time.Time) error {
	if err := w.copy(from, now); err != nil {
		return err
	}
	marks, err := w.marksFrom(w.base + from)
	if err != nil {
		return err
	}
	return writeMarks(w.dir, 1, marks)
}

// maxRounds limits how often copy continues with output that arrived during the copy.
const maxRounds = 8

// copy writes the file's bytes from an offset on to the next older file, including output that arrives during the copy.
// It does not wait for a program that writes faster than it copies.
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
		if err != nil || size <= from || n == maxRounds {
			return err
		}
		if err := w.addMark(w.base+size, now); err != nil {
			return err
		}
	}
}

// marksFrom returns the marks of the part of the file that starts at a position.
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

// Close records the last output and closes the log. ended marks the log as complete.
func (w *Writer) Close(ended bool) error {
	err := w.Record(time.Now())
	if ended {
		// Sync before the log is marked as complete: no Writer repairs it afterwards.
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

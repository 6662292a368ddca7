package containerlog

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"time"
)

// Line is one line of a container's output, without its line end.
type Line struct {
	Position int64 // of the first byte
	Time     int64 // when the first byte was recorded: Unix time in milliseconds
	Text     []byte
}

// ErrBusy reports that the log could not be read consistently because it is being rotated. The caller can retry.
var ErrBusy = errors.New("the log is being rotated; try again")

// part is one file of a log and the file of its marks, both open.
type part struct {
	log, times *os.File
	base, end  int64 // positions of the first byte and of the last mark
	marks      int
}

func (p *part) mark(n int) (mark, error) {
	var b [markSize]byte
	_, err := p.times.ReadAt(b[:], int64(n)*markSize)
	return parseMark(b[:]), err
}

// findMark returns the index of the first mark for which f returns true, as sort.Search does.
func (p *part) findMark(f func(mark) bool) (int, error) {
	var problem error
	n := sort.Search(p.marks, func(n int) bool {
		m, err := p.mark(n)
		problem = errors.Join(problem, err)
		return err == nil && f(m)
	})
	return n, problem
}

// parts are the files of a log, the oldest first, without overlaps.
type parts []*part

// withParts opens a log and calls read. It calls read again if the log was rotated in the meantime.
func withParts(dir string, read func(parts) error) error {
	if Ended(dir) { // no longer rotated, and possibly damaged by a full disk or a power failure
		ps := intactParts(dir)
		defer ps.close()
		return read(ps)
	}
	for try := range 20 {
		if try > 0 {
			time.Sleep(5 * time.Millisecond) // a rotation copies some megabytes
		}
		err := tryWithParts(dir, read)
		if !errors.Is(err, ErrBusy) {
			return err
		}
	}
	return ErrBusy
}

func tryWithParts(dir string, read func(parts) error) error {
	before, err := currentBase(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(File(dir)); errors.Is(err, fs.ErrNotExist) {
			return read(nil) // the container has printed nothing
		}
		return ErrBusy
	}
	if err != nil {
		return err
	}
	var ps parts
	defer func() { ps.close() }()
	for n := files - 1; n >= 0; n-- {
		p, err := openPart(dir, n, nth(dir, "times", n))
		if errors.Is(err, fs.ErrNotExist) && n > 0 {
			continue
		}
		if err != nil {
			return ErrBusy
		}
		ps = append(ps, p)
	}
	problem := read(ps)
	if after, err := currentBase(dir); err != nil || after != before {
		return ErrBusy
	}
	return problem
}

// intactParts opens the files of an ended log. It skips damaged files, and uses each file only as far as it has both
// bytes and marks.
func intactParts(dir string) (ps parts) {
	for n := files - 1; n >= 0; n-- {
		p, err := openPart(dir, n, nth(dir, "times", n))
		if err != nil && n == 0 { // it ended during a rotation
			p, err = openPart(dir, n, filepath.Join(dir, moving))
		}
		if err != nil {
			continue
		}
		info, err := p.log.Stat()
		if err != nil || len(ps) > 0 && p.base < ps[len(ps)-1].end {
			p.close()
			continue
		}
		p.end = min(p.end, p.base+info.Size())
		ps = append(ps, p)
	}
	return ps
}

// currentBase returns the first mark of the current file. It changes with each rotation.
func currentBase(dir string) (mark, error) {
	f, err := os.Open(nth(dir, "times", 0))
	if err != nil {
		return mark{}, err
	}
	defer f.Close()
	var b [markSize]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return mark{}, ErrBusy
	}
	return parseMark(b[:]), nil
}

// openPart opens the nth file of a log with the marks in the file times.
func openPart(dir string, n int, times string) (p *part, err error) {
	p = &part{}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.times, err = os.Open(times); err != nil {
		return p, err
	}
	if p.log, err = os.Open(nth(dir, "log", n)); err != nil {
		return p, err
	}
	info, err := p.times.Stat()
	if err != nil {
		return p, err
	}
	if p.marks = int(info.Size() / markSize); p.marks == 0 {
		return p, ErrBusy
	}
	first, err := p.mark(0)
	if err != nil {
		return p, err
	}
	last, err := p.mark(p.marks - 1)
	p.base, p.end = first.pos, last.pos
	return p, err
}

func (p *part) close() {
	for _, f := range []*os.File{p.log, p.times} {
		if f != nil {
			f.Close()
		}
	}
}

func (ps parts) close() {
	for _, p := range ps {
		p.close()
	}
}

// at returns the file that contains the byte at a position. For a position in a gap, it returns the file after the gap,
// and after the end nil.
func (ps parts) at(pos int64) *part {
	for _, p := range ps {
		if pos < p.end {
			return p
		}
	}
	return nil
}

// readAt fills b with the bytes from a position on, across files. from is the position of the first byte: greater than
// pos if the bytes at pos are lost.
func (ps parts) readAt(b []byte, pos int64) (n int, from int64, err error) {
	from = pos
	for n < len(b) {
		p := ps.at(from + int64(n))
		if p == nil {
			break
		}
		if next := from + int64(n); next < p.base {
			if n > 0 {
				break // at the gap
			}
			from = p.base
		}
		next := from + int64(n)
		k, err := p.log.ReadAt(b[n:n+int(min(int64(len(b)-n), p.end-next))], next-p.base)
		n += k
		if k == 0 {
			if errors.Is(err, io.EOF) { // fewer bytes than marks: it was truncated by a rotation
				err = ErrBusy
			}
			return n, from, err
		}
	}
	return n, from, nil
}

// markOf returns the mark with the time of the byte at a position.
func (ps parts) markOf(pos int64) (mark, error) {
	p := ps.at(pos)
	if p == nil {
		return mark{}, io.EOF
	}
	n, err := p.findMark(func(m mark) bool { return m.pos > pos })
	if err != nil || n == p.marks {
		return mark{}, errors.Join(err, ErrBusy)
	}
	return p.mark(n)
}

// chunk is the number of bytes that Read reads at once, unless a line is longer.
const chunk = 64 << 10

// Read returns complete lines from a position on, about 64 KiB of them. pos must be 0 or a position that Read or Seek
// returned. next is the position for the next call; it equals pos if there are no more lines yet. Read returns an
// unfinished line only if the container has ended or if the line is longer than [MaxLine].
func Read(dir string, pos int64) (lines []Line, next int64, err error) {
	return read(dir, pos, chunk)
}

// read is Read with about size bytes. It does not allocate more than the log contains.
func read(dir string, pos int64, size int) (lines []Line, next int64, err error) {
	ended := Ended(dir)
	err = withParts(dir, func(ps parts) (err error) {
		lines, next, err = ps.lines(make([]byte, min(int64(size), ps.remaining(pos))), pos, ended)
		if err == nil && len(lines) == 0 && ps.at(next) != nil {
			lines, next, err = ps.lines(make([]byte, 2*MaxLine), pos, ended)
		}
		return err
	})
	return lines, next, err
}

// lines returns the lines from a position on that fit into buf.
func (ps parts) lines(buf []byte, pos int64, ended bool) (lines []Line, next int64, err error) {
	n, from, err := ps.readAt(buf, pos)
	if err != nil {
		return nil, pos, err
	}
	buf, next = buf[:n], from
	if from > pos { // after a gap: skip the rest of a line whose start is lost
		skip := bytes.IndexByte(buf, '\n') + 1
		if skip == 0 {
			skip = min(len(buf), MaxLine)
		}
		buf, next = buf[skip:], from+int64(skip)
	}
	more := ps.at(from+int64(n)) != nil
	var seen mark // the time of the bytes before its position
	for len(buf) > 0 {
		text, size := buf, len(buf)
		switch end := bytes.IndexByte(buf[:min(len(buf), MaxLine)], '\n'); {
		case end >= 0:
			text, size = buf[:end], end+1
		case len(buf) >= MaxLine:
			text, size = buf[:MaxLine], MaxLine
		case more && ps.gapAt(next+int64(len(buf))): // the end of the line is lost
		case more || !ended:
			return lines, next, nil
		}
		if next >= seen.pos {
			if seen, err = ps.markOf(next); err != nil {
				return lines, next, err
			}
		}
		lines = append(lines, Line{next, seen.time, bytes.TrimSuffix(text, []byte("\r"))})
		buf, next = buf[size:], next+int64(size)
	}
	return lines, next, nil
}

// remaining returns the number of bytes from a position on.
func (ps parts) remaining(pos int64) (n int64) {
	for _, p := range ps {
		n += max(0, p.end-max(p.base, pos))
	}
	return n
}

// gapAt reports whether the bytes at a position are lost.
func (ps parts) gapAt(pos int64) bool {
	p := ps.at(pos)
	return p != nil && pos < p.base
}

// Seek returns the position of the first line that was recorded at a time or later, or the end if there is none. at is
// a Unix time in milliseconds.
func Seek(dir string, at int64) (pos int64, err error) {
	err = withParts(dir, func(ps parts) error {
		pos = 0
		for _, p := range ps {
			pos = p.end
			n, err := p.findMark(func(m mark) bool { return m.time >= at })
			if err != nil {
				return err
			}
			if n == p.marks {
				continue
			}
			pos = p.base
			if n > 0 {
				before, err := p.mark(n - 1)
				if err != nil {
					return err
				}
				pos = before.pos
			}
			return nil
		}
		return nil
	})
	if err != nil || pos == 0 {
		return pos, err
	}
	return lineAfter(dir, pos)
}

// lineAfter returns the position of the first line that starts at or after a position.
func lineAfter(dir string, pos int64) (next int64, err error) {
	err = withParts(dir, func(ps parts) error {
		buf := make([]byte, MaxLine+1)
		n, from, err := ps.readAt(buf, pos-1)
		if err != nil {
			return err
		}
		next = from + int64(n)
		if end := bytes.IndexByte(buf[:n], '\n'); end >= 0 {
			next = from + int64(end) + 1
		} else if from >= pos || n == 0 {
			next = pos
		}
		return nil
	})
	return next, err
}

// Span returns the times of the first and last stored byte in Unix milliseconds, and the number of stored bytes. ok is
// false if the container has printed nothing.
func Span(dir string) (first, last, size int64, ok bool, err error) {
	err = withParts(dir, func(ps parts) error {
		first, last, size, ok = 0, 0, 0, false
		for _, p := range ps {
			if p.end == p.base {
				continue
			}
			size += p.end - p.base
			m, err := p.mark(p.marks - 1)
			if err != nil {
				return err
			}
			last = m.time
			if !ok {
				m, err := ps.markOf(p.base)
				if err != nil {
					return err
				}
				first = m.time
			}
			ok = true
		}
		return nil
	})
	return first, last, size, ok, err
}

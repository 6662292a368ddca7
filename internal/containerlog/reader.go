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

// Line is one line that a container has printed, without its end.
type Line struct {
	Position int64 // of its first byte
	Time     int64 // when it was seen: Unix, in milliseconds
	Text     []byte
}

// ErrBusy says that the log could not be read in one piece since it is being cut; it can be tried again.
var ErrBusy = errors.New("the log is being cut")

// part is one of a log's files, opened.
type part struct {
	log, times *os.File
	base, end  int64 // positions; the end of what is marked
	marks      int
}

func (p *part) mark(n int) (mark, error) {
	var b [markSize]byte
	_, err := p.times.ReadAt(b[:], int64(n)*markSize)
	return parseMark(b[:]), err
}

// find is the number of the first mark that holds, as in sort.Search.
func (p *part) find(holds func(mark) bool) (int, error) {
	var problem error
	n := sort.Search(p.marks, func(n int) bool {
		m, err := p.mark(n)
		problem = errors.Join(problem, err)
		return err == nil && holds(m)
	})
	return n, problem
}

// parts are a log's files, the oldest first, and only as far as they do not repeat each other.
type parts []*part

// look opens a log, calls read, and makes sure that it was not cut meanwhile.
func look(dir string, read func(parts) error) error {
	if Ended(dir) { // nobody cuts it any more, nor mends what a full disk or a power cut has left of it
		ps := whatIsLeft(dir)
		defer ps.close()
		return read(ps)
	}
	for try := range 20 {
		if try > 0 {
			time.Sleep(5 * time.Millisecond) // cutting is a copy of some megabytes
		}
		err := lookOnce(dir, read)
		if !errors.Is(err, ErrBusy) {
			return err
		}
	}
	return ErrBusy
}

func lookOnce(dir string, read func(parts) error) error {
	before, err := base(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(File(dir)); errors.Is(err, fs.ErrNotExist) {
			return read(nil) // nothing was ever printed
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
	if after, err := base(dir); err != nil || after != before {
		return ErrBusy
	}
	return problem
}

// whatIsLeft opens the files of a log that has ended, without those that are damaged, and each only as far as it has both
// bytes and marks.
func whatIsLeft(dir string) (ps parts) {
	for n := files - 1; n >= 0; n-- {
		p, err := openPart(dir, n, nth(dir, "times", n))
		if err != nil && n == 0 { // it ended while it was being cut
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

// base is the first mark of the newest file, another one after each cut.
func base(dir string) (mark, error) {
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

// openPart opens a log's nth file with the marks in the file times.
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

// at is the file that holds the byte at a position, or the one after the gap that it lies in; nil behind the end.
func (ps parts) at(pos int64) *part {
	for _, p := range ps {
		if pos < p.end {
			return p
		}
	}
	return nil
}

// readAt fills b with the bytes from a position on, across files, and says where they begin: further on where what is
// asked for is lost.
func (ps parts) readAt(b []byte, pos int64) (n int, from int64, err error) {
	from = pos
	for n < len(b) {
		p := ps.at(from + int64(n))
		if p == nil {
			break
		}
		if next := from + int64(n); next < p.base {
			if n > 0 {
				break // up to the gap
			}
			from = p.base
		}
		next := from + int64(n)
		k, err := p.log.ReadAt(b[n:n+int(min(int64(len(b)-n), p.end-next))], next-p.base)
		n += k
		if k == 0 {
			if errors.Is(err, io.EOF) { // fewer bytes than marks: it has been cut
				err = ErrBusy
			}
			return n, from, err
		}
	}
	return n, from, nil
}

// seen is the mark that says when the byte at a position was seen.
func (ps parts) seen(pos int64) (mark, error) {
	p := ps.at(pos)
	if p == nil {
		return mark{}, io.EOF
	}
	n, err := p.find(func(m mark) bool { return m.pos > pos })
	if err != nil || n == p.marks {
		return mark{}, errors.Join(err, ErrBusy)
	}
	return p.mark(n)
}

// chunk is how much Read takes in at once, unless a line is longer.
const chunk = 64 << 10

// Read gives the whole lines from a position on, which must be 0 or where a Read or Seek has ended: about as many as
// 64 KiB hold. next is where to go on; it is pos when there is nothing more yet. A line that the container has not
// finished is given once it has ended, or when it is longer than MaxLine.
func Read(dir string, pos int64) (lines []Line, next int64, err error) {
	return read(dir, pos, chunk)
}

// read is Read of about so many bytes, and no more memory than there are.
func read(dir string, pos int64, size int) (lines []Line, next int64, err error) {
	ended := Ended(dir)
	err = look(dir, func(ps parts) (err error) {
		lines, next, err = ps.lines(make([]byte, min(int64(size), ps.left(pos))), pos, ended)
		if err == nil && len(lines) == 0 && ps.at(next) != nil {
			lines, next, err = ps.lines(make([]byte, 2*MaxLine), pos, ended)
		}
		return err
	})
	return lines, next, err
}

// lines reads what fits into buf.
func (ps parts) lines(buf []byte, pos int64, ended bool) (lines []Line, next int64, err error) {
	n, from, err := ps.readAt(buf, pos)
	if err != nil {
		return nil, pos, err
	}
	buf, next = buf[:n], from
	if from > pos { // behind a gap: the rest of a line that is lost
		skip := bytes.IndexByte(buf, '\n') + 1
		if skip == 0 {
			skip = min(len(buf), MaxLine)
		}
		buf, next = buf[skip:], from+int64(skip)
	}
	more := ps.at(from+int64(n)) != nil
	var seen mark // of the bytes before its position
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
			if seen, err = ps.seen(next); err != nil {
				return lines, next, err
			}
		}
		lines = append(lines, Line{next, seen.time, bytes.TrimSuffix(text, []byte("\r"))})
		buf, next = buf[size:], next+int64(size)
	}
	return lines, next, nil
}

// left is how many bytes there are from a position on.
func (ps parts) left(pos int64) (n int64) {
	for _, p := range ps {
		n += max(0, p.end-max(p.base, pos))
	}
	return n
}

// gapAt reports whether bytes are lost from a position on.
func (ps parts) gapAt(pos int64) bool {
	p := ps.at(pos)
	return p != nil && pos < p.base
}

// Seek is the position of the first line that was seen at a time or later; the end, when there is none.
func Seek(dir string, at int64) (pos int64, err error) {
	err = look(dir, func(ps parts) error {
		pos = 0
		for _, p := range ps {
			pos = p.end
			n, err := p.find(func(m mark) bool { return m.time >= at })
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

// lineAfter is the position of the first line that begins at a position or behind it.
func lineAfter(dir string, pos int64) (next int64, err error) {
	err = look(dir, func(ps parts) error {
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

// Span is when the first and the last byte of what is kept were seen, in Unix milliseconds, and how many bytes that
// is; ok is false when nothing was printed.
func Span(dir string) (first, last, size int64, ok bool, err error) {
	err = look(dir, func(ps parts) error {
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
				m, err := ps.seen(p.base)
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

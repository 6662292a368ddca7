package containerlog

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"time"
)

// Source is a log that is read together with others.
type Source struct {
	ID  string // orders what has the same time
	Dir string
	// Position is where to read on; Merge moves it. Negative begins with the first line of the query's time.
	Position int64

	lines []Line // read and not yet given
	next  int64  // behind lines
	key   int64  // the time of the first of them, or before it while none was read
}

// Event is a line of a source.
type Event struct {
	Line
	Source *Source
}

// Cursor is a place in the order of events: by time, then source, then position.
type Cursor struct {
	Time     int64
	ID       string
	Position int64
}

func (c *Cursor) before(e Event) bool {
	return cmp.Or(cmp.Compare(c.Time, e.Time), cmp.Compare(c.ID, e.Source.ID), cmp.Compare(c.Position, e.Position)) < 0
}

// Query says which events are wanted.
type Query struct {
	From, Until int64             // Unix milliseconds; Until is not among them, 0 is no end
	After       *Cursor           // only what comes behind it; nil is everything
	Match       func([]byte) bool // nil is everything
	Most        int               // events
	Bytes       int               // of their texts together; one event may be longer
}

// The bounds of one Merge, beyond which it says that there is more: how much it reads to find what matches, and for how
// long.
const (
	maxScan = 64 << 20
	budget  = 2 * time.Second
)

// maxHeld is how much of the logs' text one Merge holds at once, divided among its sources, of which each holds leastHeld
// at least.
const (
	maxHeld   = 16 << 20
	leastHeld = 1 << 10
)

// merging bounds how many Merges run at once, since each may hold megabytes.
var merging = make(chan struct{}, 4)

// Merge reads the sources' events in their order. last is the last event that was looked at, whether or not it was
// wanted; more says that there may be others behind it.
func Merge(ctx context.Context, sources []*Source, q Query) (events []Event, last *Cursor, more bool, err error) {
	select {
	case merging <- struct{}{}:
		defer func() { <-merging }()
	case <-ctx.Done():
		return nil, nil, false, ctx.Err()
	}
	began := time.Now()
	held := max(leastHeld, min(chunk, maxHeld/max(len(sources), 1)))
	var h byTime
	for _, s := range sources {
		ok, err := s.start(q.From)
		if err != nil {
			return nil, nil, false, err
		}
		if ok {
			h = append(h, s)
		}
	}
	heap.Init(&h)
	scanned, size := 0, 0
	for len(h) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, nil, false, err
		}
		s := h[0]
		if len(s.lines) == 0 {
			if err := s.load(held); err != nil {
				return nil, nil, false, err
			}
			if len(s.lines) == 0 {
				heap.Pop(&h)
			} else {
				heap.Fix(&h, 0)
			}
			continue
		}
		e := Event{s.lines[0], s}
		if q.Until > 0 && e.Time >= q.Until {
			break // and so are all others
		}
		wanted := e.Time >= q.From && (q.After == nil || q.After.before(e)) && (q.Match == nil || q.Match(e.Text))
		full := wanted && (len(events) == q.Most || size > 0 && size+len(e.Text) > q.Bytes)
		if full || scanned > maxScan || last != nil && time.Since(began) > budget {
			return events, last, true, nil
		}
		if wanted {
			e.Text = bytes.Clone(e.Text) // lets go of what it was read with
			events = append(events, e)
			size += len(e.Text)
		}
		scanned += len(e.Text) + 1
		last = &Cursor{e.Time, s.ID, e.Position}
		s.take()
		heap.Fix(&h, 0)
	}
	return events, last, false, nil
}

// start prepares to read from a time on; false says that there is nothing.
func (s *Source) start(from int64) (bool, error) {
	first, last, _, ok, err := Span(s.Dir)
	if err != nil || !ok || s.Position < 0 && last < from {
		return false, err
	}
	if s.Position < 0 {
		if s.Position, err = Seek(s.Dir, from); err != nil {
			return false, err
		}
		first = max(first, from)
	}
	s.key = first
	return true, nil
}

// load reads on, about so many bytes.
func (s *Source) load(size int) (err error) {
	s.lines, s.next, err = read(s.Dir, s.Position, size)
	if len(s.lines) > 0 {
		s.key, s.Position = s.lines[0].Time, s.lines[0].Position
	}
	return err
}

// take moves behind the first line.
func (s *Source) take() {
	s.lines = s.lines[1:]
	s.Position = s.next
	if len(s.lines) > 0 {
		s.key, s.Position = s.lines[0].Time, s.lines[0].Position
	}
}

// byTime is a heap of sources.
type byTime []*Source

func (h byTime) Len() int      { return len(h) }
func (h byTime) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h byTime) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].key, h[j].key), cmp.Compare(h[i].ID, h[j].ID)) < 0
}
func (h *byTime) Push(x any) { *h = append(*h, x.(*Source)) }
func (h *byTime) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

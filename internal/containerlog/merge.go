package containerlog

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"time"
)

// Source is one of the logs that [Merge] reads.
type Source struct {
	ID  string // orders events with the same time
	Dir string
	// Position is where Merge starts to read; Merge advances it. If negative, Merge starts at the query's From.
	Position int64

	lines []Line // read, but not yet returned
	next  int64  // the position after lines
	key   int64  // the time of the first line; before the first read, a lower bound for it
}

// Event is a line of a source.
type Event struct {
	Line
	Source *Source
}

// Cursor is a place in the order of events: by time, then source ID, then position.
type Cursor struct {
	Time     int64
	ID       string
	Position int64
}

func (c *Cursor) before(e Event) bool {
	return cmp.Or(cmp.Compare(c.Time, e.Time), cmp.Compare(c.ID, e.Source.ID), cmp.Compare(c.Position, e.Position)) < 0
}

// Query selects events.
type Query struct {
	From, Until int64             // Unix milliseconds; From is included, Until is not; Until 0 is unlimited
	After       *Cursor           // only events after the cursor; nil selects all
	Match       func([]byte) bool // nil selects all
	Limit       int               // number of events
	Bytes       int               // total size of their texts; a single event may exceed it
}

// Limits of one Merge. When it reaches one of them, it returns with more set.
const (
	maxScan     = 64 << 20 // bytes to search for matches
	maxDuration = 2 * time.Second
)

// One Merge divides bufferSize bytes of text among its sources. Each source has at least minSourceBuffer.
const (
	bufferSize      = 16 << 20
	minSourceBuffer = 1 << 10
)

// merging limits the number of concurrent Merges, since each can use megabytes.
var merging = make(chan struct{}, 4)

// Merge returns the events of all sources in order. last is the last event that it examined, selected or not. more
// reports whether there may be further events after last.
func Merge(ctx context.Context, sources []*Source, q Query) (events []Event, last *Cursor, more bool, err error) {
	select {
	case merging <- struct{}{}:
		defer func() { <-merging }()
	case <-ctx.Done():
		return nil, nil, false, ctx.Err()
	}
	pending, err := startAll(sources, q.From)
	if err != nil {
		return nil, nil, false, err
	}
	p := page{query: &q, deadline: time.Now().Add(maxDuration)}
	readSize := max(minSourceBuffer, min(chunk, bufferSize/max(len(sources), 1)))
	for {
		if err := ctx.Err(); err != nil {
			return nil, nil, false, err
		}
		e, ok, err := pending.first(readSize)
		if err != nil {
			return nil, nil, false, err
		}
		if !ok || q.Until > 0 && e.Time >= q.Until {
			return p.events, p.last, false, nil
		}
		if !p.add(e) {
			return p.events, p.last, true, nil
		}
		pending.advance()
	}
}

// page collects the result of one Merge.
type page struct {
	query    *Query
	deadline time.Time
	events   []Event
	size     int // of the texts of events
	last     *Cursor
	scanned  int // bytes
}

// add examines the next event, and returns false if it exceeds a limit of the query or of one Merge.
func (p *page) add(e Event) bool {
	selected := p.query.selects(e)
	if selected && (len(p.events) == p.query.Limit || p.size > 0 && p.size+len(e.Text) > p.query.Bytes) {
		return false
	}
	if p.scanned > maxScan || p.last != nil && time.Now().After(p.deadline) {
		return false
	}
	if selected {
		e.Text = bytes.Clone(e.Text) // so that the read buffer can be freed
		p.events = append(p.events, e)
		p.size += len(e.Text)
	}
	p.scanned += len(e.Text) + 1
	p.last = &Cursor{e.Time, e.Source.ID, e.Position}
	return true
}

// selects reports whether the query selects an event. It does not check Until.
func (q *Query) selects(e Event) bool {
	return e.Time >= q.From && (q.After == nil || q.After.before(e)) && (q.Match == nil || q.Match(e.Text))
}

// startAll returns the sources that have output from a time on.
func startAll(sources []*Source, from int64) (byTime, error) {
	var h byTime
	for _, s := range sources {
		ok, err := s.start(from)
		if err != nil {
			return nil, err
		}
		if ok {
			h = append(h, s)
		}
	}
	heap.Init(&h)
	return h, nil
}

// first returns the first event of all sources, and false if there are no more. It reads about readSize bytes at a
// time.
func (h *byTime) first(readSize int) (Event, bool, error) {
	for len(*h) > 0 {
		s := (*h)[0]
		if len(s.lines) > 0 {
			return Event{s.lines[0], s}, true, nil
		}
		if err := s.load(readSize); err != nil {
			return Event{}, false, err
		}
		if len(s.lines) == 0 {
			heap.Pop(h)
		} else {
			heap.Fix(h, 0)
		}
	}
	return Event{}, false, nil
}

// advance drops the first event.
func (h *byTime) advance() {
	(*h)[0].advance()
	heap.Fix(h, 0)
}

// start prepares the source for reading from a time on. It returns false if the source has no such output.
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

// load reads the next lines, about size bytes.
func (s *Source) load(size int) (err error) {
	s.lines, s.next, err = read(s.Dir, s.Position, size)
	if len(s.lines) > 0 {
		s.key, s.Position = s.lines[0].Time, s.lines[0].Position
	}
	return err
}

// advance drops the first line.
func (s *Source) advance() {
	s.lines = s.lines[1:]
	s.Position = s.next
	if len(s.lines) > 0 {
		s.key, s.Position = s.lines[0].Time, s.lines[0].Position
	}
}

// byTime is a heap of sources, ordered by the time of their first line.
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

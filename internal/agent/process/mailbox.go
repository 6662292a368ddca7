package process

import (
	"context"
	"sync"
)

// mailbox keeps the newest update of each container until somebody takes it. It is what makes a slow reader cost no
// more than one update for each container, and never holds up the writer.
type mailbox struct {
	mu     sync.Mutex
	order  []mailKey // oldest first
	newest map[mailKey]update
	filled chan struct{} // holds a token when order is not empty
}

type mailKey struct{ taskID, container string }

func newMailbox() *mailbox {
	return &mailbox{newest: map[mailKey]update{}, filled: make(chan struct{}, 1)}
}

func (m *mailbox) put(u update) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := mailKey{u.Event.TaskID, u.Event.Status.Name}
	if _, waiting := m.newest[key]; !waiting {
		m.order = append(m.order, key)
	}
	m.newest[key] = u
	m.signal()
}

// take waits for an update; false means that ctx ended first.
func (m *mailbox) take(ctx context.Context) (update, bool) {
	for {
		select {
		case <-ctx.Done():
			return update{}, false
		case <-m.filled:
		}
		if u, ok := m.pop(); ok {
			return u, true
		}
	}
}

func (m *mailbox) pop() (update, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.order) == 0 {
		return update{}, false
	}
	key := m.order[0]
	m.order = m.order[1:]
	u := m.newest[key]
	delete(m.newest, key)
	if len(m.order) > 0 {
		m.signal()
	}
	return u, true
}

func (m *mailbox) signal() {
	select {
	case m.filled <- struct{}{}:
	default:
	}
}

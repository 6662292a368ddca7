// Package mailbox connects a fast writer to a slow reader of changes: the reader gets the newest value of each key, not
// every value, and the writer never waits.
package mailbox

import (
	"context"
	"sync"
)

// Mailbox keeps the newest value of each key until it is taken. A slow reader costs at most one value for each key.
// Make one with [New].
type Mailbox[K comparable, V any] struct {
	mu     sync.Mutex
	order  []K // oldest first
	newest map[K]V
	filled chan struct{} // holds a token if order is not empty
}

// New returns an empty mailbox.
func New[K comparable, V any]() *Mailbox[K, V] {
	return &Mailbox[K, V]{newest: map[K]V{}, filled: make(chan struct{}, 1)}
}

// Put stores a value for the reader. It replaces an older value of the key.
func (m *Mailbox[K, V]) Put(key K, value V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, waiting := m.newest[key]; !waiting {
		m.order = append(m.order, key)
	}
	m.newest[key] = value
	m.signal()
}

// Take waits for a value and removes it; ok is false if ctx ended first.
func (m *Mailbox[K, V]) Take(ctx context.Context) (value V, ok bool) {
	for {
		select {
		case <-ctx.Done():
			return value, false
		case <-m.filled:
		}
		if value, ok = m.pop(); ok {
			return value, true
		}
	}
}

// Deliver sends the values to out as its reader receives them, until ctx is done, and then closes out.
func (m *Mailbox[K, V]) Deliver(ctx context.Context, out chan<- V) {
	defer close(out)
	for {
		value, ok := m.Take(ctx)
		if !ok {
			return
		}
		select {
		case out <- value:
		case <-ctx.Done():
			return
		}
	}
}

func (m *Mailbox[K, V]) pop() (value V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.order) == 0 {
		return value, false
	}
	key := m.order[0]
	m.order = m.order[1:]
	value = m.newest[key]
	delete(m.newest, key)
	if len(m.order) > 0 {
		m.signal()
	}
	return value, true
}

func (m *Mailbox[K, V]) signal() {
	select {
	case m.filled <- struct{}{}:
	default:
	}
}

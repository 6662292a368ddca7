// Package mailbox lets a slow reader follow what changes fast: it is given the newest of each, not all.
package mailbox

import (
	"context"
	"sync"
)

// Mailbox keeps the newest value of each key until somebody takes it. A slow reader costs no more than one value for each
// key, and never holds up the writer. Make it with [New].
type Mailbox[K comparable, V any] struct {
	mu     sync.Mutex
	order  []K // oldest first
	newest map[K]V
	filled chan struct{} // holds a token when order is not empty
}

// New makes an empty mailbox.
func New[K comparable, V any]() *Mailbox[K, V] {
	return &Mailbox[K, V]{newest: map[K]V{}, filled: make(chan struct{}, 1)}
}

// Put leaves a value for the reader, in place of an older one of its key.
func (m *Mailbox[K, V]) Put(key K, value V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, waiting := m.newest[key]; !waiting {
		m.order = append(m.order, key)
	}
	m.newest[key] = value
	m.signal()
}

// Take waits for a value; false means that ctx ended first.
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

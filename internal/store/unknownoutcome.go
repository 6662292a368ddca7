package store

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// maxDoubts bounds the memory of unknown outcomes; beyond it the oldest is forgotten.
const maxDoubts = 10_000

type invocationKey struct{}

// WithInvocation marks ctx with the id that a client gives all tries of one call (AWS SDKs send it as
// amz-sdk-invocation-id), so that a write whose outcome was unknown is not done twice. One call makes one
// [Update].
func WithInvocation(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, invocationKey{}, id)
}

func invocation(ctx context.Context) string {
	id, _ := ctx.Value(invocationKey{}).(string)
	return id
}

// doubts are the writes whose outcome is unknown, by invocation.
type doubts struct {
	mu   sync.Mutex
	byID map[string]doubt
	age  []string // invocations, oldest first; those that were settled may still be in it
}

// doubt is one such write: what tells whether it was done, and what it would have returned.
type doubt struct {
	marks  []mark
	result any
}

// mark is a key that the write would have changed; nil bytes mean that it would be gone.
type mark struct {
	key   string
	bytes []byte
}

// add remembers an attempt.
func (d *doubts) add(ctx context.Context, tx *Tx, result any) {
	id := invocation(ctx)
	if id == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byID == nil {
		d.byID = map[string]doubt{}
	}
	for len(d.byID) >= maxDoubts || len(d.age) >= 2*maxDoubts {
		delete(d.byID, d.age[0])
		d.age = d.age[1:]
	}
	d.byID[id] = doubt{marks(tx), result}
	d.age = append(d.age, id)
}

func (d *doubts) find(id string) (doubt, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	got, ok := d.byID[id]
	return got, ok
}

func (d *doubts) forget(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.byID, id)
}

// marks picks what tells an attempt: the rows it would have given another value, or, when it only deletes,
// the rows it would have deleted. Rows carry ids and times that no other attempt makes, so any one of them
// found as written is that attempt's, even when another was overwritten meanwhile.
func marks(tx *Tx) []mark {
	var puts, deletes []mark
	for _, key := range tx.order {
		w := tx.writes[key]
		if w.bytes == nil {
			deletes = append(deletes, mark{key: key})
			continue
		}
		if old, ok := tx.snap.get(key); ok {
			if b, err := json.Marshal(old.val); err == nil && bytes.Equal(b, w.bytes) {
				continue // put for the sake of its revision; says nothing
			}
		}
		puts = append(puts, mark{key, w.bytes})
	}
	if len(puts) > 0 {
		return puts
	}
	return deletes
}

// settle finds out what became of an earlier try of the same invocation: its result when it was done.
func (s *Store) settle(ctx context.Context) (result any, done bool, err error) {
	id := invocation(ctx)
	if id == "" {
		return nil, false, nil
	}
	d, ok := s.doubts.find(id)
	if !ok {
		return nil, false, nil
	}
	client, err := s.source()
	if err != nil {
		return nil, false, unavailable(err)
	}
	for _, m := range d.marks {
		resp, err := client.Get(ctx, s.prefix+m.key, clientv3.WithLimit(1)) // linearizable: behind every write before it
		if err != nil {
			return nil, false, unavailable(err)
		}
		if err := s.Wait(ctx, resp.Header.Revision); err != nil {
			return nil, false, unavailable(err)
		}
		if m.bytes == nil && len(resp.Kvs) == 0 || len(resp.Kvs) == 1 && m.bytes != nil && bytes.Equal(resp.Kvs[0].Value, m.bytes) {
			done = true
			break
		}
	}
	s.doubts.forget(id)
	return d.result, done, nil
}

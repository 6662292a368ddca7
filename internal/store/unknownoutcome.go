package store

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// When the response to a commit is lost, the write may or may not have been applied. The caller receives
// fault.Unavailable and retries. The retry must not apply the write a second time, so the store remembers what the lost
// attempt would have written and what it would have returned, by the invocation id that all attempts of one call share.
// Before a retry runs, the store reads these keys from etcd: if the write was applied, the retry returns the remembered
// result.

// maxUnknownOutcomes is the maximum number of remembered attempts. The oldest ones are forgotten first.
const maxUnknownOutcomes = 10_000

type invocationKey struct{}

// WithInvocation returns a context that carries the id which a client sends with all attempts of one call (AWS SDKs
// send it as amz-sdk-invocation-id), so that a retry does not repeat a write whose outcome was unknown. One call makes
// one [Update].
func WithInvocation(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, invocationKey{}, id)
}

func invocation(ctx context.Context) string {
	id, _ := ctx.Value(invocationKey{}).(string)
	return id
}

// unknownOutcomes are the attempts whose outcome is unknown, by invocation id.
type unknownOutcomes struct {
	mu    sync.Mutex
	byID  map[string]unknownOutcome
	order []string // invocation ids, oldest first; may contain ids that are no longer in byID
}

// unknownOutcome is an attempt whose response was lost.
type unknownOutcome struct {
	effects []effect // any one of them proves that the attempt was applied
	result  any      // what the attempt would have returned
}

// effect is a key and the value that an attempt would have left there. Nil bytes mean that it would have deleted the
// key.
type effect struct {
	key   string
	bytes []byte
}

// add remembers an attempt, if ctx carries an invocation id.
func (u *unknownOutcomes) add(ctx context.Context, tx *Tx, result any) {
	id := invocation(ctx)
	if id == "" {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byID == nil {
		u.byID = map[string]unknownOutcome{}
	}
	for len(u.byID) >= maxUnknownOutcomes || len(u.order) >= 2*maxUnknownOutcomes {
		delete(u.byID, u.order[0])
		u.order = u.order[1:]
	}
	u.byID[id] = unknownOutcome{effectsOf(tx), result}
	u.order = append(u.order, id)
}

func (u *unknownOutcomes) find(id string) (unknownOutcome, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	found, ok := u.byID[id]
	return found, ok
}

func (u *unknownOutcomes) forget(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.byID, id)
}

// effectsOf returns the effects by which an attempt can be recognized: the rows to which it gives another value or, if
// it only deletes, the rows that it deletes. Rows contain ids and times that no other attempt produces. Therefore a
// single row with the expected value proves that the attempt was applied, even if a later write has overwritten the
// others.
func effectsOf(tx *Tx) []effect {
	var puts, deletes []effect
	for _, key := range tx.order {
		w := tx.writes[key]
		if w.bytes == nil {
			deletes = append(deletes, effect{key: key})
			continue
		}
		if old, ok := tx.snap.get(key); ok {
			if b, err := json.Marshal(old.val); err == nil && bytes.Equal(b, w.bytes) {
				continue // written only to advance the row's revision; the value proves nothing
			}
		}
		puts = append(puts, effect{key, w.bytes})
	}
	if len(puts) > 0 {
		return puts
	}
	return deletes
}

// resolveOutcome determines whether an earlier attempt of the same invocation was applied, and returns its result if
// so.
func (s *Store) resolveOutcome(ctx context.Context) (result any, applied bool, err error) {
	id := invocation(ctx)
	if id == "" {
		return nil, false, nil
	}
	attempt, ok := s.unknown.find(id)
	if !ok {
		return nil, false, nil
	}
	client, err := s.source()
	if err != nil {
		return nil, false, unavailable(err)
	}
	for _, e := range attempt.effects {
		// The read is linearizable, so it sees every write that etcd has accepted before it.
		resp, err := client.Get(ctx, s.prefix+e.key, clientv3.WithLimit(1))
		if err != nil {
			return nil, false, unavailable(err)
		}
		if err := s.Wait(ctx, resp.Header.Revision); err != nil {
			return nil, false, unavailable(err)
		}
		if e.visibleIn(resp) {
			applied = true
			break
		}
	}
	s.unknown.forget(id)
	return attempt.result, applied, nil
}

// visibleIn reports whether the response to a read of the key shows the effect.
func (e effect) visibleIn(resp *clientv3.GetResponse) bool {
	if e.bytes == nil {
		return len(resp.Kvs) == 0
	}
	return len(resp.Kvs) == 1 && bytes.Equal(resp.Kvs[0].Value, e.bytes)
}

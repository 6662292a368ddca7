package directory

import (
	"hash/maphash"
	"sync"
)

const shards = 64

var seed = maphash.MakeSeed()

// table is a concurrent map from strings with many readers and one writer. It is sharded. The lock of a shard is held
// for one map operation, so a reader never waits longer than that.
type table[V any] struct {
	shard [shards]struct {
		mu sync.RWMutex
		m  map[string]V
	}
}

func (t *table[V]) get(key string) (V, bool) {
	s := &t.shard[maphash.String(seed, key)%shards]
	s.mu.RLock()
	v, ok := s.m[key]
	s.mu.RUnlock()
	return v, ok
}

func (t *table[V]) put(key string, v V) {
	s := &t.shard[maphash.String(seed, key)%shards]
	s.mu.Lock()
	if s.m == nil {
		s.m = make(map[string]V)
	}
	s.m[key] = v
	s.mu.Unlock()
}

func (t *table[V]) remove(key string) {
	s := &t.shard[maphash.String(seed, key)%shards]
	s.mu.Lock()
	delete(s.m, key)
	s.mu.Unlock()
}

// all returns all values, in no particular order.
func (t *table[V]) all() []V {
	var vs []V
	for i := range t.shard {
		s := &t.shard[i]
		s.mu.RLock()
		for _, v := range s.m {
			vs = append(vs, v)
		}
		s.mu.RUnlock()
	}
	return vs
}

package forward

import (
	"container/list"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// cacheEntries is the maximum number of cached messages, some ten megabytes for typical messages of half a
	// kilobyte.
	cacheEntries = 10_000
	// maxCached is the size of the largest message that is cached, so that cacheEntries also bounds the memory.
	maxCached = 4096
	// maxLifetime is the longest time for which an answer is cached, regardless of its TTL. It bounds the time until a
	// change elsewhere is visible without a restart.
	maxLifetime = 5 * time.Minute
)

// cache keeps answers for their TTL. When it is full, it evicts the least recently used one.
type cache struct {
	mu      sync.Mutex
	max     int
	entries map[string]*list.Element
	recent  *list.List // of *cached, the most recently used first
}

type cached struct {
	key    string
	msg    *dns.Msg // must not be changed
	stored time.Time
	until  time.Time
}

func newCache(max int) cache {
	return cache{max: max, entries: map[string]*list.Element{}, recent: list.New()}
}

// get returns a copy of an entry with the remaining TTLs, or nil if the entry does not exist or has expired.
func (c *cache) get(key string, now time.Time) *dns.Msg {
	entry := c.find(key, now)
	if entry == nil {
		return nil
	}
	m := entry.msg.Copy()
	age := uint32(now.Sub(entry.stored) / time.Second)
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			rr.Header().Ttl -= min(age, rr.Header().Ttl)
		}
	}
	return m
}

func (c *cache) find(key string, now time.Time) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return nil
	}
	entry := e.Value.(*cached)
	if !now.Before(entry.until) {
		c.recent.Remove(e)
		delete(c.entries, key)
		return nil
	}
	c.recent.MoveToFront(e)
	return entry
}

// add caches a message for its lifetime. The caller must not change the message afterwards.
func (c *cache) add(key string, m *dns.Msg, now time.Time) {
	life := lifetime(m)
	if life <= 0 || m.Len() > maxCached {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	entry := &cached{key: key, msg: m, stored: now, until: now.Add(life)}
	if e, ok := c.entries[key]; ok {
		e.Value = entry
		c.recent.MoveToFront(e)
		return
	}
	c.entries[key] = c.recent.PushFront(entry)
	if c.recent.Len() > c.max {
		oldest := c.recent.Back()
		c.recent.Remove(oldest)
		delete(c.entries, oldest.Value.(*cached).key)
	}
}

// lifetime returns the time for which a message may be cached: the smallest of its TTLs and, for a negative answer, the
// minimum of its SOA. A negative answer without SOA must not be cached (RFC 2308, section 5).
func lifetime(m *dns.Msg) time.Duration {
	ttl := uint32(maxLifetime / time.Second)
	if soa := soaOf(m); soa != nil {
		ttl = min(ttl, soa.Minttl)
	} else if len(m.Answer) == 0 || m.Rcode == dns.RcodeNameError {
		return 0
	}
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			ttl = min(ttl, rr.Header().Ttl)
		}
	}
	return time.Duration(ttl) * time.Second
}

func soaOf(m *dns.Msg) *dns.SOA {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa
		}
	}
	return nil
}

package forward

import (
	"container/list"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// cacheEntries bounds the cache: with a typical message of half a kilobyte, some ten megabytes.
	cacheEntries = 10_000
	// maxCached keeps the rare large message out, so that the bound in entries is one in memory too.
	maxCached = 4096
	// maxLife caps how long an answer is kept, whatever its TTL: after a change elsewhere nobody has to wait
	// longer, or restart us.
	maxLife = 5 * time.Minute
)

// cache keeps answers for their TTL, the least recently used one making room.
type cache struct {
	mu      sync.Mutex
	max     int
	entries map[string]*list.Element
	recent  *list.List // of *cached, the most recent first
}

type cached struct {
	key    string
	msg    *dns.Msg // never changed
	stored time.Time
	until  time.Time
}

func newCache(max int) cache {
	return cache{max: max, entries: map[string]*list.Element{}, recent: list.New()}
}

// get returns a copy of a live entry with what is left of its TTLs, or nil.
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

// put keeps a message for as long as it lives. The message is not changed afterwards.
func (c *cache) put(key string, m *dns.Msg, now time.Time) {
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

// lifetime is how long a message may be kept: the least of its TTLs and of the minimum of an SOA that says
// that something is not there; a negative answer without SOA not at all (RFC 2308, section 5).
func lifetime(m *dns.Msg) time.Duration {
	ttl := uint32(maxLife / time.Second)
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

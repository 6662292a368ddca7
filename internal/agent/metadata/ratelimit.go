package metadata

import (
	"sync"
	"time"
)

// The rate limit of a task (ECS Developer Guide, "Task metadata endpoint version 4": 40 requests a second, bursts of
// 60).
const (
	perSecond = 40
	burst     = 60
)

// limits has a token bucket for each task with recent requests.
type limits struct {
	mu      sync.Mutex
	buckets map[string]*bucket
	swept   time.Time
}

type bucket struct {
	left float64
	at   time.Time
}

// allow takes one token from a task's bucket, and returns whether it had one.
func (l *limits) allow(id string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buckets == nil {
		l.buckets = map[string]*bucket{}
	}
	if now.Sub(l.swept) > time.Minute { // a full bucket is as good as none
		l.swept = now
		for id, b := range l.buckets {
			if now.Sub(b.at) > burst/perSecond*time.Second+time.Second {
				delete(l.buckets, id)
			}
		}
	}
	b := l.buckets[id]
	if b == nil {
		b = &bucket{left: burst, at: now}
		l.buckets[id] = b
	}
	b.left = min(burst, b.left+now.Sub(b.at).Seconds()*perSecond)
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

package directory

import (
	"sync"
	"sync/atomic"
	"time"
)

// Tick is a time of this process's monotonic clock, in eighths of a second since the process started. Expiries are kept
// in ticks, so that a name that is queried continuously updates its expiry at most eight times a second, not with every
// answer. Ticks of different processes cannot be compared.
type Tick int64

const second Tick = 8

var processStart = time.Now()

// Now returns the current tick.
func Now() Tick { return Tick(time.Since(processStart) / (time.Second / time.Duration(second))) }

// Until returns the duration until the tick begins, or 0 if it has begun.
func (t Tick) Until() time.Duration {
	return max(0, time.Until(processStart.Add(time.Duration(t)*time.Second/time.Duration(second))))
}

// slack is added to the TTL of an answer, because the answer is in transit for a while, and because clients count whole
// seconds.
const slack = second

// expiryOf returns the tick at which an answer that is sent now, with a TTL in seconds, has expired at every client.
func expiryOf(now Tick, ttl uint32) Tick { return now + 1 + Tick(ttl)*second + slack }

// addressExpiry is the tick at which the last answer with an instance's address expires. All versions of one instance
// share it. It never decreases.
type addressExpiry struct{ at atomic.Int64 }

func (e *addressExpiry) extend(to Tick) {
	for {
		old := e.at.Load()
		if old >= int64(to) || e.at.CompareAndSwap(old, int64(to)) {
			return
		}
	}
}

func (e *addressExpiry) tick() Tick { return Tick(e.at.Load()) }

// MarkSent records that an answer with the instance's address is sent now, and that clients may cache it for ttl
// seconds. The caller holds a [Guard], and calls MarkSent before it sends the answer and again afterwards. MarkSent has
// an effect only on an instance that tracks its expiry and is not draining yet: an answer with the host name of a
// draining instance has the remaining TTL, so it does not extend the expiry.
func (i *Instance) MarkSent(now Tick, ttl uint32) {
	if i.expiry != nil && i.State != Draining {
		i.expiry.extend(expiryOf(now, ttl))
	}
}

// RemainingTTL returns the longest TTL, in seconds, of an answer with a draining instance that does not extend its
// drain.
func (i *Instance) RemainingTTL(now Tick) uint32 {
	if i.expiry == nil {
		return 0
	}
	return uint32(max(0, i.expiry.tick()-now-1-slack) / second)
}

// ExpiresAt returns the tick at which every answer with the address of an instance that this process has sent has
// expired, for clients that honor TTLs. It returns 0 if no answer contained the address. The result is final if the
// instance is no longer in any answer and [Directory.WaitForGuards] has returned since. The expiry of an instance that
// has been deregistered remains known until it has passed.
func (d *Directory) ExpiresAt(serviceID, id string) Tick {
	if i, ok := d.Instance(serviceID, id); ok && i.expiry != nil {
		return i.expiry.tick()
	}
	return d.removed.expiresAt(serviceID, id)
}

// removedExpiries are the expiries of removed instances, until they have passed.
type removedExpiries struct {
	mu      sync.Mutex
	byKey   map[string]*addressExpiry // service id, NUL, instance id
	purgeAt int                       // the size of byKey at which expiries that have passed are deleted
}

func (r *removedExpiries) add(i *Instance) {
	if i.expiry == nil || i.expiry.tick() <= Now() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byKey == nil {
		r.byKey = map[string]*addressExpiry{}
	}
	r.byKey[i.ServiceID+"\x00"+i.ID] = i.expiry
	if len(r.byKey) < r.purgeAt {
		return
	}
	for key, e := range r.byKey {
		if e.tick() <= Now() {
			delete(r.byKey, key)
		}
	}
	r.purgeAt = 2*len(r.byKey) + 64
}

// remove removes and returns the expiry of an instance that has been registered again, or returns nil.
func (r *removedExpiries) remove(serviceID, id string) *addressExpiry {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byKey[serviceID+"\x00"+id]
	delete(r.byKey, serviceID+"\x00"+id)
	return e
}

func (r *removedExpiries) expiresAt(serviceID, id string) Tick {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.byKey[serviceID+"\x00"+id]; ok {
		return e.tick()
	}
	return 0
}

// expiryFor returns the expiry of a new or changed instance: that of the previous version, or of an earlier
// registration under the same id. An instance that exists when the process starts may be in an answer that the previous
// process has just sent, with the greatest TTL that the service ever had.
func (b *Batch) expiryFor(n *serviceNode, i *Instance, old *Instance) *addressExpiry {
	switch {
	case !i.TrackExpiry:
		return nil
	case old != nil && old.expiry != nil:
		return old.expiry
	}
	if e := b.d.removed.remove(i.ServiceID, i.ID); e != nil {
		return e
	}
	e := new(addressExpiry)
	if b.first {
		e.extend(expiryOf(Now(), n.service.LongestTTL))
	}
	return e
}

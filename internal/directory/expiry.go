package directory

import (
	"sync"
	"sync/atomic"
	"time"
)

// Tick is a moment by this process's monotonic clock, counted in eighths of a second from its start. Holds
// are kept in ticks so that a name that is asked for all the time writes its holds eight times a second, not
// with every answer. No tick is ever told to another process.
type Tick int64

const second Tick = 8

var began = time.Now()

// Now is the present tick.
func Now() Tick { return Tick(time.Since(began) / (time.Second / time.Duration(second))) }

// In is how long it takes from now until the tick begins; 0 when it has begun.
func (t Tick) Until() time.Duration {
	return max(0, time.Until(began.Add(time.Duration(t)*time.Second/time.Duration(second))))
}

// slack is added to the TTL of what is handed out: an answer is on its way for a while, and a client counts
// whole seconds.
const slack = second

// expiry is when an answer that leaves now, with a TTL in seconds, has expired wherever it is.
func expiry(now Tick, ttl uint32) Tick { return now + 1 + Tick(ttl)*second + slack }

// hold is until when clients may use an address that they have been given. All versions of one instance
// share it. It only grows.
type hold struct{ until atomic.Int64 }

func (h *hold) extend(until Tick) {
	for {
		old := h.until.Load()
		if old >= int64(until) || h.until.CompareAndSwap(old, int64(until)) {
			return
		}
	}
}

// MarkSent notes that an answer with the instance's address leaves now and may be kept for ttl seconds. It
// is to be called before the answer is sent and again when it has been, within a [Guard]. It concerns
// instances that drain; the host name of one that drains already is answered with the time that is left to
// it, so nothing is prolonged then.
func (i *Instance) MarkSent(now Tick, ttl uint32) {
	if i.hold != nil && i.State != Draining {
		i.hold.extend(expiry(now, ttl))
	}
}

// RemainingTTL is the TTL, in seconds, with which a draining instance can be answered without prolonging its drain.
func (i *Instance) RemainingTTL(now Tick) uint32 {
	if i.hold == nil {
		return 0
	}
	return uint32(max(0, Tick(i.hold.until.Load())-now-1-slack) / second)
}

// ExpiresAt is the tick from which on no client that honours TTLs has the address of an instance from this
// process, provided that the instance is in no answer any more and that [Directory.WaitForGuards] has returned
// since; 0 when nothing was handed out. An instance that somebody has deregistered is still known for as
// long as it is held.
func (d *Directory) ExpiresAt(serviceID, id string) Tick {
	if i, ok := d.Instance(serviceID, id); ok && i.hold != nil {
		return Tick(i.hold.until.Load())
	}
	return d.departed.held(serviceID, id)
}

// departed are the holds of instances that were removed while clients might use them.
type departed struct {
	mu    sync.Mutex
	holds map[string]*hold
	purge int // when there are so many, those that are over are dropped
}

func (d *departed) add(i *Instance) {
	if i.hold == nil || Tick(i.hold.until.Load()) <= Now() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.holds == nil {
		d.holds = map[string]*hold{}
	}
	d.holds[i.ServiceID+"\x00"+i.ID] = i.hold
	if len(d.holds) < d.purge {
		return
	}
	for key, h := range d.holds {
		if Tick(h.until.Load()) <= Now() {
			delete(d.holds, key)
		}
	}
	d.purge = 2*len(d.holds) + 64
}

// take returns the hold of an instance that comes back.
func (d *departed) take(serviceID, id string) *hold {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.holds[serviceID+"\x00"+id]
	delete(d.holds, serviceID+"\x00"+id)
	return h
}

func (d *departed) held(serviceID, id string) Tick {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h, ok := d.holds[serviceID+"\x00"+id]; ok {
		return Tick(h.until.Load())
	}
	return 0
}

// holdOf gives a new or changed instance its hold: that of the version before, or of its former life. What a
// process finds at its start may have been handed out by the process before, a moment ago, with the greatest
// TTL that the service ever had.
func (b *Batch) holdOf(n *serviceNode, i *Instance, old *Instance) *hold {
	switch {
	case !i.TrackExpiry:
		return nil
	case old != nil && old.hold != nil:
		return old.hold
	}
	if h := b.d.departed.take(i.ServiceID, i.ID); h != nil {
		return h
	}
	h := new(hold)
	if b.first {
		h.extend(expiry(Now(), n.service.LongestTTL))
	}
	return h
}

package directory_test

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/directory"
)

// oneInstance is a directory with one service, whose only instance the tests change.
type oneInstance struct {
	*directory.Directory
	rev int64
}

const testService, testInstance = "svc", "i"

// newOneInstance returns a directory whose first revision contains the instances.
func newOneInstance(initial ...*directory.Instance) *oneInstance {
	d := &oneInstance{Directory: directory.New()}
	d.apply(func(b *directory.Batch) {
		b.PutNamespace(directory.Namespace{ID: "ns", Name: "shop", HTTPName: "shop", Kind: directory.Public})
		b.PutService(directory.Service{ID: testService, NamespaceID: "ns", Name: "cart",
			Records: []directory.Record{{Type: directory.A, TTL: 10}}, LongestTTL: 60})
		for _, i := range initial {
			b.PutInstance(i)
		}
	})
	return d
}

func (d *oneInstance) apply(change func(b *directory.Batch)) {
	d.rev++
	d.Apply(d.rev, change)
}

func (d *oneInstance) put(i *directory.Instance) {
	d.apply(func(b *directory.Batch) { b.PutInstance(i) })
}
func (d *oneInstance) remove() {
	d.apply(func(b *directory.Batch) { b.RemoveInstance(testService, testInstance) })
}
func (d *oneInstance) expiresAt() directory.Tick { return d.ExpiresAt(testService, testInstance) }

// send marks an answer as sent now, and returns the earliest possible expiry.
func (d *oneInstance) send(ttl uint32) (earliest directory.Tick) {
	i, _ := d.Instance(testService, testInstance)
	now := directory.Now()
	i.MarkSent(now, ttl)
	return now + directory.Tick(8*ttl)
}

// tracked returns an instance that tracks its expiry.
func tracked(state directory.State) *directory.Instance {
	return &directory.Instance{
		ID: testInstance, ServiceID: testService, IPv4: netip.MustParseAddr("192.0.2.1"),
		State: state, TrackExpiry: true,
	}
}

// TestExpiry follows the expiry of one address through the changes of its instance.
func TestExpiry(t *testing.T) {
	d := newOneInstance()
	d.put(tracked(directory.Healthy))
	if got := d.expiresAt(); got != 0 {
		t.Errorf("expires at %d before any answer was sent, want 0", got)
	}
	earliest := d.send(20)
	if got := d.expiresAt(); got < earliest || got > earliest+3*8 {
		t.Errorf("sent with a TTL of 20 s: expires at %d, want %d or slightly more", got, earliest)
	}
	d.send(5)
	if got := d.expiresAt(); got < earliest {
		t.Errorf("an answer with a shorter TTL moved the expiry back to %d", got)
	}
	d.put(tracked(directory.Unhealthy))
	if got := d.expiresAt(); got < earliest {
		t.Errorf("a change of health moved the expiry back to %d", got)
	}
	before := d.expiresAt()
	d.put(tracked(directory.Draining))
	d.send(300)
	if got := d.expiresAt(); got != before {
		t.Errorf("an answer with the draining instance moved the expiry from %d to %d", before, got)
	}
	i, _ := d.Instance(testService, testInstance)
	if left := i.RemainingTTL(directory.Now()); left > 20 || left < 15 {
		t.Errorf("remaining TTL of the draining instance = %d s, want about 20", left)
	}
	d.remove()
	if got := d.expiresAt(); got != before {
		t.Errorf("the removal moved the expiry from %d to %d", before, got)
	}
	d.put(tracked(directory.Healthy))
	if got := d.expiresAt(); got != before {
		t.Errorf("after a new registration it expires at %d, want %d as before", got, before)
	}
}

// TestExpiryAtStart checks that an instance that exists when the process starts expires only after the service's
// longest TTL, because the previous process may have sent its address, and that an instance without TrackExpiry has
// no expiry.
func TestExpiryAtStart(t *testing.T) {
	now := directory.Now()
	if got := newOneInstance(tracked(directory.Healthy)).expiresAt(); got < now+8*60 {
		t.Errorf("existing at the start: expires at %d, want at least %d", got, now+8*60)
	}
	d := newOneInstance()
	d.put(&directory.Instance{ID: testInstance, ServiceID: testService, IPv4: netip.MustParseAddr("192.0.2.1")})
	if d.send(20); d.expiresAt() != 0 {
		t.Errorf("an instance without TrackExpiry expires at %d, want 0", d.expiresAt())
	}
}

// TestWaitForGuards checks that WaitForGuards waits for the guards that were acquired before the call, and returns
// an error when its context ends.
func TestWaitForGuards(t *testing.T) {
	d := directory.New()
	early := d.AcquireGuard()
	returned := make(chan error, 1)
	go func() { returned <- d.WaitForGuards(t.Context()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	select {
	case <-returned:
		t.Error("WaitForGuards returned while a guard was held")
	case <-ctx.Done():
	}
	early.Release()
	if err := <-returned; err != nil {
		t.Error(err)
	}
	late := d.AcquireGuard()
	defer late.Release()
	if err := d.WaitForGuards(ctx); err == nil {
		t.Error("WaitForGuards succeeded while a guard was held")
	}
}

// TestWaitForGuardsUnderLoad checks that while readers acquire and release guards all the time, no reader uses an
// older state after WaitForGuards has returned.
func TestWaitForGuardsUnderLoad(t *testing.T) {
	d := directory.New()
	var state atomic.Int64
	inUse := make([]atomic.Int64, 4) // the state that each reader uses; 0 means none
	done := make(chan struct{})
	var readers sync.WaitGroup
	for k := range inUse {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				g := d.AcquireGuard()
				inUse[k].Store(state.Load())
				inUse[k].Store(0)
				g.Release()
			}
		})
	}
	for n := int64(1); n <= 500; n++ {
		state.Store(n)
		if err := d.WaitForGuards(t.Context()); err != nil {
			t.Fatal(err)
		}
		for k := range inUse {
			if got := inUse[k].Load(); got != 0 && got < n {
				t.Fatalf("reader %d still uses state %d after WaitForGuards has returned for state %d", k, got, n)
			}
		}
	}
	close(done)
	readers.Wait()
}

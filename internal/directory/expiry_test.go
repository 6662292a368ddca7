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

// held is a directory with one instance, and what changes it.
type held struct {
	*directory.Directory
	rev int64
}

const heldService, heldInstance = "svc", "i"

func newHeld(found ...*directory.Instance) *held {
	d := &held{Directory: directory.New()}
	d.apply(func(b *directory.Batch) {
		b.PutNamespace(directory.Namespace{ID: "ns", Name: "shop", HTTPName: "shop", Kind: directory.Public})
		b.PutService(directory.Service{ID: heldService, NamespaceID: "ns", Name: "cart",
			Records: []directory.Record{{Type: directory.A, TTL: 10}}, LongestTTL: 60})
		for _, i := range found {
			b.PutInstance(i)
		}
	})
	return d
}

func (d *held) apply(change func(b *directory.Batch)) {
	d.rev++
	d.Apply(d.rev, change)
}

func (d *held) put(i *directory.Instance) { d.apply(func(b *directory.Batch) { b.PutInstance(i) }) }
func (d *held) remove() {
	d.apply(func(b *directory.Batch) { b.RemoveInstance(heldService, heldInstance) })
}
func (d *held) holds() directory.Tick { return d.ExpiresAt(heldService, heldInstance) }

func (d *held) handOut(ttl uint32) (least directory.Tick) {
	i, _ := d.Instance(heldService, heldInstance)
	now := directory.Now()
	i.MarkSent(now, ttl)
	return now + directory.Tick(8*ttl)
}

func draining(state directory.State) *directory.Instance {
	return &directory.Instance{ID: heldInstance, ServiceID: heldService, IPv4: netip.MustParseAddr("192.0.2.1"), State: state, TrackExpiry: true}
}

// TestHold follows one address through what can happen to its instance.
func TestHold(t *testing.T) {
	d := newHeld()
	d.put(draining(directory.Healthy))
	if got := d.holds(); got != 0 {
		t.Errorf("held until %d before anybody had it", got)
	}
	least := d.handOut(20)
	if got := d.holds(); got < least || got > least+3*8 {
		t.Errorf("handed out for 20 s: held until %d, want %d and little more", got, least)
	}
	d.handOut(5)
	if got := d.holds(); got < least {
		t.Errorf("an answer with a shorter TTL ended the hold of the one before: %d", got)
	}
	d.put(draining(directory.Unhealthy))
	if got := d.holds(); got < least {
		t.Errorf("a change of health ended the hold: %d", got)
	}
	before := d.holds()
	d.put(draining(directory.Draining))
	d.handOut(300)
	if got := d.holds(); got != before {
		t.Errorf("answering for the draining instance moved its hold from %d to %d", before, got)
	}
	i, _ := d.Instance(heldService, heldInstance)
	if left := i.RemainingTTL(directory.Now()); left > 20 || left < 15 {
		t.Errorf("the draining instance may be kept %d s more, want about 20", left)
	}
	d.remove()
	if got := d.holds(); got != before {
		t.Errorf("its removal moved the hold from %d to %d", before, got)
	}
	d.put(draining(directory.Healthy))
	if got := d.holds(); got != before {
		t.Errorf("registered again, it is held until %d, want %d as before", got, before)
	}
}

// TestHoldAtStart: what was there before the process may have been handed out by the one before, with the longest TTL.
func TestHoldAtStart(t *testing.T) {
	now := directory.Now()
	if got := newHeld(draining(directory.Healthy)).holds(); got < now+8*60 {
		t.Errorf("found at the start: held until %d, want %d at least", got, now+8*60)
	}
	d := newHeld()
	d.put(&directory.Instance{ID: heldInstance, ServiceID: heldService, IPv4: netip.MustParseAddr("192.0.2.1")})
	if d.handOut(20); d.holds() != 0 {
		t.Errorf("an instance that does not drain is held until %d", d.holds())
	}
}

// TestSettle: it waits for each guard that was taken before, and for none that came later.
func TestSettle(t *testing.T) {
	d := directory.New()
	early := d.AcquireGuard()
	settled := make(chan error, 1)
	go func() { settled <- d.WaitForGuards(t.Context()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	select {
	case <-settled:
		t.Error("it did not wait for a guard that was there before")
	case <-ctx.Done():
	}
	early.Release()
	if err := <-settled; err != nil {
		t.Error(err)
	}
	late := d.AcquireGuard()
	defer late.Release()
	if err := d.WaitForGuards(ctx); err == nil {
		t.Error("it did not wait for a guard that is still held")
	}
}

// TestSettleUnderLoad: with readers coming and going all the time, whoever acts on an older state has left when
// WaitForGuards returns.
func TestSettleUnderLoad(t *testing.T) {
	d := directory.New()
	var state atomic.Int64
	inUse := make([]atomic.Int64, 4) // the state that each reader acts on; 0 is none
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
				t.Fatalf("reader %d still acts on state %d after state %d has settled", k, got, n)
			}
		}
	}
	close(done)
	readers.Wait()
}

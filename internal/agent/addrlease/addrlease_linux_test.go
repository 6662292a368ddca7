package addrlease

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// smallBlock is apart from the addresses of real tasks and, since leases are for the whole machine, from other tests. One
// of its two addresses ends in 255, which is never given out.
func smallBlock() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{127, byte(1 + rand.IntN(63)), byte(rand.IntN(256)), 254}), 31)
}

func TestAddressesRest(t *testing.T) {
	file, block := filepath.Join(t.TempDir(), "resting.json"), smallBlock()
	pool := func(keep time.Duration) *Pool {
		t.Helper()
		l, err := Open(keep, file)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := pool(time.Hour)
	address, held, err := l.Address(block)
	if err != nil || address != block.Addr() {
		t.Fatal(address, err)
	}
	if _, _, err := l.Address(block); !fault.Is(err, fault.Unavailable) {
		t.Errorf("another address of a full block: %v; want unavailable", err)
	}
	if err := l.GiveBack([]Lease{held}, "", 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Address(block); !fault.Is(err, fault.Unavailable) {
		t.Errorf("an address just given back: %v; want unavailable", err)
	}

	held.Drop() // as when the process ends
	next := pool(time.Hour)
	if _, err := Take(held.name); !errors.Is(err, ErrTaken) {
		t.Errorf("a resting address after a new start: %v; want %v", err, ErrTaken)
	}
	if len(next.resting) != 1 {
		t.Errorf("resting after a new start: %v; want the one address", next.resting)
	}
}

// TestPortsRest: a host port that was given back is for tasks of the same group only.
func TestPortsRest(t *testing.T) {
	l, err := Open(time.Hour, filepath.Join(t.TempDir(), "resting.json"))
	if err != nil {
		t.Fatal(err)
	}
	bindings, held, err := l.BindPorts(netip.Addr{}, []agent.Port{{Container: 80}}, "service:web")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.GiveBack(held, "service:web", 0); err != nil {
		t.Fatal(err)
	}
	fixed := []agent.Port{{Container: 80, Host: bindings[0].Host}}
	for _, group := range []string{"service:other", ""} {
		if _, _, err := l.BindPorts(netip.Addr{}, fixed, group); !fault.Is(err, fault.InUse) {
			t.Errorf("a port that rests, for group %q: %v; want it to be in use", group, err)
		}
	}
	_, again, err := l.BindPorts(netip.Addr{}, fixed, "service:web")
	if err != nil {
		t.Fatalf("a port that rests, for the group that had it: %v", err)
	}
	if _, _, err := l.BindPorts(netip.Addr{}, fixed, "service:web"); !fault.Is(err, fault.InUse) {
		t.Errorf("a port that another task of the group has: %v; want it to be in use", err)
	}
	for _, h := range again {
		h.Drop()
	}
}

func TestRestEnds(t *testing.T) {
	l, err := Open(time.Millisecond, filepath.Join(t.TempDir(), "resting.json"))
	if err != nil {
		t.Fatal(err)
	}
	block := smallBlock()
	_, held, err := l.Address(block)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.GiveBack([]Lease{held}, "", 0); err != nil {
		t.Fatal(err)
	}
	for t.Context().Err() == nil { // the timer of the rest fires soon
		if _, again, err := l.Address(block); err == nil {
			again.Drop()
			return
		}
		runtime.Gosched()
	}
}

func TestChoosablePorts(t *testing.T) {
	for _, tc := range []struct {
		ephemeral PortRange
		want      string
	}{
		{PortRange{32768, 60999}, "[{61000 65535}]"},                             // Linux's default
		{PortRange{49152, 65535}, "[{20000 49151}]"},                             // IANA's, as some distributions set
		{PortRange{1024, 65535}, "[{49153 65535}]"},                              // all there are: no other choice
		{PortRange{10000, 20000}, "[{49153 51677} {51681 65535}]"},               // without the ECS agent's
		{PortRange{55000, 56000}, "[{49153 51677} {51681 54999} {56001 65535}]"}, // on both sides
	} {
		if got := fmt.Sprint(choosable(tc.ephemeral)); got != tc.want {
			t.Errorf("choosable beside %v: %s, want %s", tc.ephemeral, got, tc.want)
		}
	}
}

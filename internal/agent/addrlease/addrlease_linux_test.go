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

// smallBlock returns a block with one usable address: the other one ends in 255, which is never leased. It is outside
// of the addresses of real tasks and, since leases are for the whole machine, almost certainly of those of other tests.
func smallBlock() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{127, byte(1 + rand.IntN(63)), byte(rand.IntN(256)), 254}), 31)
}

func TestAddressesRest(t *testing.T) {
	file, block := filepath.Join(t.TempDir(), "resting.json"), smallBlock()
	open := func(minRest time.Duration) *Pool {
		t.Helper()
		p, err := Open(minRest, file)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := open(time.Hour)
	address, held, err := p.Address(block)
	if err != nil || address != block.Addr() {
		t.Fatal(address, err)
	}
	if _, _, err := p.Address(block); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Address of a full block: %v; want unavailable", err)
	}
	if err := p.Return([]Lease{held}, "", 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Address(block); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Address immediately after Return: %v; want unavailable", err)
	}

	held.Release() // as when the process ends
	next := open(time.Hour)
	if _, err := Acquire(held.name); !errors.Is(err, ErrTaken) {
		t.Errorf("Acquire of a resting address after a restart: %v; want %v", err, ErrTaken)
	}
	if len(next.resting) != 1 {
		t.Errorf("resting after a restart: %v; want the one address", next.resting)
	}
}

// TestPortsRest checks that only tasks of the same group get a host port while it rests.
func TestPortsRest(t *testing.T) {
	p, err := Open(time.Hour, filepath.Join(t.TempDir(), "resting.json"))
	if err != nil {
		t.Fatal(err)
	}
	bindings, held, err := p.BindPorts(netip.Addr{}, []agent.Port{{Container: 80}}, "service:web")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Return(held, "service:web", 0); err != nil {
		t.Fatal(err)
	}
	fixed := []agent.Port{{Container: 80, Host: bindings[0].Host}}
	for _, group := range []string{"service:other", ""} {
		if _, _, err := p.BindPorts(netip.Addr{}, fixed, group); !fault.Is(err, fault.InUse) {
			t.Errorf("BindPorts of a resting port for group %q: %v; want in use", group, err)
		}
	}
	_, again, err := p.BindPorts(netip.Addr{}, fixed, "service:web")
	if err != nil {
		t.Fatalf("BindPorts of a resting port for the group that had it: %v", err)
	}
	if _, _, err := p.BindPorts(netip.Addr{}, fixed, "service:web"); !fault.Is(err, fault.InUse) {
		t.Errorf("BindPorts of a port that another task of the group has: %v; want in use", err)
	}
	for _, h := range again {
		h.Release()
	}
}

func TestRestEnds(t *testing.T) {
	p, err := Open(time.Millisecond, filepath.Join(t.TempDir(), "resting.json"))
	if err != nil {
		t.Fatal(err)
	}
	block := smallBlock()
	_, held, err := p.Address(block)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Return([]Lease{held}, "", 0); err != nil {
		t.Fatal(err)
	}
	for t.Context().Err() == nil { // the rest ends after a millisecond
		if _, again, err := p.Address(block); err == nil {
			again.Release()
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
		{PortRange{1024, 65535}, "[{49153 65535}]"},                              // all ports: there is no choice
		{PortRange{10000, 20000}, "[{49153 51677} {51681 65535}]"},               // without the ECS agent's ports
		{PortRange{55000, 56000}, "[{49153 51677} {51681 54999} {56001 65535}]"}, // on both sides
	} {
		if got := fmt.Sprint(choosable(tc.ephemeral)); got != tc.want {
			t.Errorf("choosable with ephemeral ports %v: %s, want %s", tc.ephemeral, got, tc.want)
		}
	}
}

package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
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
	pool := func(keep time.Duration) *leases {
		t.Helper()
		l, err := newLeases(block, keep, file)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := pool(time.Hour)
	address, held, err := l.address()
	if err != nil || address != block.Addr() {
		t.Fatal(address, err)
	}
	if _, _, err := l.address(); !fault.Is(err, fault.Unavailable) {
		t.Errorf("another address of a full block: %v; want unavailable", err)
	}
	if err := l.giveBack([]lease{held}, "", 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.address(); !fault.Is(err, fault.Unavailable) {
		t.Errorf("an address just given back: %v; want unavailable", err)
	}

	held.drop() // as when the process ends
	next := pool(time.Hour)
	if _, err := takeLease(held.name); !errors.Is(err, errTaken) {
		t.Errorf("a resting address after a new start: %v; want %v", err, errTaken)
	}
	if len(next.resting) != 1 {
		t.Errorf("resting after a new start: %v; want the one address", next.resting)
	}
}

// TestPortsRest: a host port that was given back is for tasks of the same group only.
func TestPortsRest(t *testing.T) {
	l, err := newLeases(smallBlock(), time.Hour, filepath.Join(t.TempDir(), "resting.json"))
	if err != nil {
		t.Fatal(err)
	}
	bindings, held, err := l.bindPorts(netip.Addr{}, []agent.Port{{Container: 80}}, "service:web")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.giveBack(held, "service:web", 0); err != nil {
		t.Fatal(err)
	}
	fixed := []agent.Port{{Container: 80, Host: bindings[0].Host}}
	for _, group := range []string{"service:other", ""} {
		if _, _, err := l.bindPorts(netip.Addr{}, fixed, group); !fault.Is(err, fault.InUse) {
			t.Errorf("a port that rests, for group %q: %v; want it to be in use", group, err)
		}
	}
	_, again, err := l.bindPorts(netip.Addr{}, fixed, "service:web")
	if err != nil {
		t.Fatalf("a port that rests, for the group that had it: %v", err)
	}
	if _, _, err := l.bindPorts(netip.Addr{}, fixed, "service:web"); !fault.Is(err, fault.InUse) {
		t.Errorf("a port that another task of the group has: %v; want it to be in use", err)
	}
	for _, h := range again {
		h.drop()
	}
}

func TestRestEnds(t *testing.T) {
	l, err := newLeases(smallBlock(), time.Millisecond, filepath.Join(t.TempDir(), "resting.json"))
	if err != nil {
		t.Fatal(err)
	}
	_, held, err := l.address()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.giveBack([]lease{held}, "", 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the address can be had again", func() bool {
		_, again, err := l.address()
		again.drop()
		return err == nil
	})
}

func TestChoosablePorts(t *testing.T) {
	for _, tc := range []struct {
		ephemeral portRange
		want      string
	}{
		{portRange{32768, 60999}, "[{61000 65535}]"},                             // Linux's default
		{portRange{49152, 65535}, "[{20000 49151}]"},                             // IANA's, as some distributions set
		{portRange{1024, 65535}, "[{49153 65535}]"},                              // all there are: no other choice
		{portRange{10000, 20000}, "[{49153 51677} {51681 65535}]"},               // without the ECS agent's
		{portRange{55000, 56000}, "[{49153 51677} {51681 54999} {56001 65535}]"}, // on both sides
	} {
		if got := fmt.Sprint(choosable(tc.ephemeral)); got != tc.want {
			t.Errorf("choosable beside %v: %s, want %s", tc.ephemeral, got, tc.want)
		}
	}
}

func TestParseStat(t *testing.T) {
	const line = "4242 (a (bad) name) S 1 4240 4239 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 0 0 18446744073709551615"
	got, err := parseStat([]byte(line))
	if want := (procStat{state: 'S', session: 4239, ticks: 987654}); err != nil || got != want {
		t.Errorf("parseStat: %+v, %v; want %+v", got, err, want)
	}
	if _, err := parseStat([]byte("4242 (cut) S 1")); err == nil {
		t.Error("a line that was cut is accepted")
	}
}

func TestTagIn(t *testing.T) {
	environ := []byte("PATH=/bin\x00X" + tagVariable + "=no\x00" + tagVariable + "=abc.web\x00")
	p := proc{pid: 7, session: 6, tag: tagIn(environ)}
	var got []bool
	for _, of := range []struct {
		tag     string
		session int
	}{{"abc.web", 0}, {"abc.we", 0}, {"abc.web.exec1", 0}, {"other.web", 6}, {"other.web", 0}} {
		got = append(got, p.belongsTo(of.tag, of.session))
	}
	if want := []bool{true, false, false, true, false}; !slices.Equal(got, want) {
		t.Errorf("tag %q belongs: %v, want %v", p.tag, got, want)
	}
}

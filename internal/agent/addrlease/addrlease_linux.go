package addrlease

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/atomicfile"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/portowner"
)

// Lease is the right to use one address or port, held against every Rollcall of this machine.
//
// The lock is a Unix socket bound to a name in the abstract namespace (unix(7)). It needs no folder that every user can
// write to, its scope is the network namespace, which is also that of loopback addresses, and it ends with the
// process however that ends. It does not listen, so nobody can connect to it.
type Lease struct {
	name string // "address/127.64.0.1", "port/tcp/61000"
	fd   int
}

// Take takes the lease of a name, or fails with [ErrTaken].
func Take(name string) (Lease, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Lease{}, fmt.Errorf("hold %s: %w", name, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "@rollcall/" + name}); err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EADDRINUSE) {
			err = ErrTaken
		}
		return Lease{}, fmt.Errorf("hold %s: %w", name, err)
	}
	return Lease{name, fd}, nil
}

// Drop gives it up at once; a lease that was not taken is no error.
func (l Lease) Drop() {
	if l.name != "" {
		unix.Close(l.fd)
	}
}

// Pool takes and gives back addresses and host ports. Make it with [Open].
type Pool struct {
	// Ephemeral are the ports from which the kernel serves sockets that ask for none in particular; no port that is chosen
	// here is among them.
	Ephemeral PortRange

	keep time.Duration // how long what is given back stays held at least
	file string        // what is given back and still held, for a pool that comes after this one

	mu      sync.Mutex
	next    uint32              // offset in a block of the address to try next
	ports   []PortRange         // that may be chosen
	resting map[string]*resting // what was given back and is still held, by name
}

// resting is a lease that nobody uses.
type resting struct {
	Until time.Time
	Group string // whose tasks may have it all the same ([agent.TaskSpec.Group])
	lease Lease
}

// Open makes a pool that holds what is given back for so long at least. It holds again, for the rest of its time, what an
// earlier pool of the file had been given back.
func Open(keep time.Duration, file string) (*Pool, error) {
	ephemeral := EphemeralPorts()
	l := &Pool{Ephemeral: ephemeral, keep: keep, file: file, next: rand.Uint32(), ports: choosable(ephemeral)}
	if err := atomicfile.Read(file, &l.resting); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("addresses that rest: %w; remove the file to forget them", err)
	}
	if l.resting == nil {
		l.resting = map[string]*resting{}
	}
	for name, r := range l.resting {
		left := min(time.Until(r.Until), max(keep, mostRest)) // the clock may have been set back
		held, err := Take(name)
		if left <= 0 || err != nil {
			delete(l.resting, name) // its time is over, or somebody else has it
			held.Drop()
			continue
		}
		r.lease = held
		l.dropAfter(left, r)
	}
	return l, nil
}

// Address takes a free address of a block, going round it from a random start so that addresses
// rest as long as possible.
func (l *Pool) Address(block netip.Prefix) (netip.Addr, Lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := uint32(1) << (32 - block.Bits())
	for range min(size, 1<<16) {
		l.next++
		address := addressAt(block, l.next%size)
		if last := address.As4()[3]; last == 0 || last == 255 {
			continue
		}
		held, err := Take("address/" + address.String())
		if errors.Is(err, ErrTaken) {
			continue
		}
		return address, held, err
	}
	return netip.Addr{}, Lease{}, fault.New(fault.Unavailable, "address", "every address of %v is in use; stop tasks, or wait %v for those that were stopped", block, l.keep)
}

// addressAt is the address of a block so far from its first.
func addressAt(block netip.Prefix, offset uint32) netip.Addr {
	first := block.Addr().As4()
	number := uint32(first[0])<<24 | uint32(first[1])<<16 | uint32(first[2])<<8 | uint32(first[3])
	number += offset
	return netip.AddrFrom4([4]byte{byte(number >> 24), byte(number >> 16), byte(number >> 8), byte(number)})
}

// BindPorts takes the host ports of one container and says where its ports are. One container port gets the same host
// port for TCP and UDP.
func (l *Pool) BindPorts(host netip.Addr, ports []agent.Port, group string) ([]agent.PortBinding, []Lease, error) {
	var bindings []agent.PortBinding
	var held []Lease
	for _, same := range byContainerPort(ports) {
		number, taken, err := l.hostPort(same, group)
		if err != nil {
			for _, h := range held {
				h.Drop()
			}
			return nil, nil, err
		}
		held = append(held, taken...)
		for _, p := range same {
			bindings = append(bindings, agent.PortBinding{Container: p.Container, Host: number, HostIP: host, Protocol: ProtocolOf(p)})
		}
	}
	return bindings, held, nil
}

// ProtocolOf is a port's protocol; tcp unless it says otherwise.
func ProtocolOf(p agent.Port) string {
	if p.Protocol == "" {
		return "tcp"
	}
	return p.Protocol
}

// byContainerPort groups ports that share the container port, keeping their order. Protocols are not repeated.
func byContainerPort(ports []agent.Port) [][]agent.Port {
	var groups [][]agent.Port
next:
	for _, p := range ports {
		for i, group := range groups {
			if group[0].Container != p.Container || group[0].Host != p.Host {
				continue
			}
			if !slices.ContainsFunc(group, func(q agent.Port) bool { return ProtocolOf(q) == ProtocolOf(p) }) {
				groups[i] = append(group, p)
			}
			continue next
		}
		groups = append(groups, []agent.Port{p})
	}
	return groups
}

// hostPort takes the host port that these ports (one container port, its protocols) ask for, or chooses one.
//
// A chosen port lies outside of the range from which the kernel serves outgoing connections, and is leased for as long
// as the task exists. So between now and the moment when the task binds it, only a program that is told
// to use just this number could take it; holding a socket until then would leave the same gap, at its end.
func (l *Pool) hostPort(same []agent.Port, group string) (uint16, []Lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if number := same[0].Host; number != 0 {
		held, err := l.leasePort(number, same, group)
		if err != nil {
			return 0, nil, fault.New(fault.InUse, "host port", "%d is %v; free it, map another host port, or host port 0 to have one chosen", number, err)
		}
		return number, held, nil
	}
	for range 4096 {
		r := l.ports[rand.IntN(len(l.ports))]
		number := r.Low + uint16(rand.IntN(int(r.High-r.Low)+1))
		if held, err := l.leasePort(number, same, ""); err == nil {
			return number, held, nil
		}
	}
	return 0, nil, fault.New(fault.Unavailable, "host port", "no free port was found in %v; stop tasks, or free ports there", l.ports)
}

// leasePort takes one host port for all these protocols, or none. l.mu is held.
func (l *Pool) leasePort(number uint16, same []agent.Port, group string) (held []Lease, err error) {
	defer func() {
		if err != nil {
			for _, h := range held {
				h.Drop()
			}
		}
	}()
	for _, p := range same {
		name := "port/" + ProtocolOf(p) + "/" + strconv.Itoa(int(number))
		l.wake(name, group)
		got, err := Take(name)
		if errors.Is(err, ErrTaken) {
			return held, errors.New("held by another task, or was by one of another service that clients may still look for there")
		}
		if err != nil {
			return held, err
		}
		held = append(held, got)
		if err := portIsFree(ProtocolOf(p), number); err != nil {
			return held, err
		}
	}
	return held, nil
}

// portIsFree tries to bind the port on every address.
func portIsFree(protocol string, number uint16) error {
	var err error
	if address := ":" + strconv.Itoa(int(number)); protocol == "udp" {
		var conn net.PacketConn
		if conn, err = net.ListenPacket("udp", address); err == nil {
			return conn.Close()
		}
	} else {
		var listener net.Listener
		if listener, err = net.Listen("tcp", address); err == nil {
			return listener.Close()
		}
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("not to be had: %w", err)
	}
	return fmt.Errorf("in use by %s", portowner.Of(netip.Addr{}, number))
}

// mostRest bounds what a TTL makes a lease rest: a week, beyond which no answer lives (RFC 8767, section 4).
const mostRest = 7 * 24 * time.Hour

// GiveBack drops leases when they have rested for the quarantine, or for as long as is asked for if that is longer. An
// error says that they are forgotten should this process end before.
func (l *Pool) GiveBack(back []Lease, group string, rest time.Duration) error {
	rest = max(l.keep, min(rest, mostRest))
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, held := range back {
		r := &resting{Until: time.Now().UTC().Round(0).Add(rest), Group: group, lease: held}
		l.resting[held.name] = r
		l.dropAfter(rest, r)
	}
	return atomicfile.Write(l.file, l.resting, false)
}

// Close lets go of what rests. A pool that is opened of the same file holds it again.
func (l *Pool) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.resting {
		l.drop(r)
	}
}

func (l *Pool) dropAfter(rest time.Duration, r *resting) {
	time.AfterFunc(rest, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.drop(r)
	})
}

// wake ends a lease's rest for a task of the group that had it. l.mu is held.
func (l *Pool) wake(name, group string) {
	if r := l.resting[name]; r != nil && group != "" && r.Group == group {
		l.drop(r)
	}
}

// drop ends a rest, unless that was done before. l.mu is held.
func (l *Pool) drop(r *resting) {
	if l.resting[r.lease.name] == r {
		delete(l.resting, r.lease.name)
		r.lease.Drop()
	}
}

// choosable are the ports that may be chosen for a task: of those that ECS chooses from (49153 to 65535), the ones
// outside of the ephemeral range; where those are few, from 20000 on.
func choosable(ephemeral PortRange) []PortRange {
	for _, low := range []uint16{49153, 20000} {
		free := without(PortRange{low, 65535}, ephemeral)
		count := 0
		for _, r := range free {
			count += int(r.High-r.Low) + 1
		}
		if count >= 1000 {
			return free
		}
	}
	return []PortRange{{49153, 65535}}
}

// without is what remains of a range when another is taken out, without the ports that ECS never offers (51678 to 51680,
// those of its agent).
func without(from, out PortRange) []PortRange {
	rest := []PortRange{from}
	for _, o := range []PortRange{out, {51678, 51680}} {
		var next []PortRange
		for _, r := range rest {
			if o.High < r.Low || o.Low > r.High {
				next = append(next, r)
				continue
			}
			if o.Low > r.Low {
				next = append(next, PortRange{r.Low, o.Low - 1})
			}
			if o.High < r.High {
				next = append(next, PortRange{o.High + 1, r.High})
			}
		}
		rest = next
	}
	return rest
}

// EphemeralPorts is the range from which the kernel serves sockets that ask for no port in particular.
func EphemeralPorts() PortRange {
	var r PortRange
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		_, err = fmt.Sscan(string(text), &r.Low, &r.High)
	}
	if err != nil {
		return PortRange{32768, 60999} // the kernel's default
	}
	return r
}

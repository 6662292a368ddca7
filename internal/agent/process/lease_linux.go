package process

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

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/portholder"
	"golang.org/x/sys/unix"
)

// quarantine is how long an address or host port stays held at least after its task is gone, so that a cached address does
// not lead to another task; longer where answers that name it live longer ([agent.TaskSpec.Rest]).
const quarantine = 10 * time.Minute

// addressBlock is where the addresses of tasks come from: the half of 127/8 that nothing else is known to use.
var addressBlock = netip.MustParsePrefix("127.64.0.0/10")

// errTaken says that another process of this machine holds the lease.
var errTaken = errors.New("taken by another task")

// lease is the right to use one address or port, held against every Rollcall of this machine.
//
// The lock is a Unix socket bound to a name in the abstract namespace (unix(7)). It needs no folder that every user can
// write to, its scope is the network namespace, which is also that of loopback addresses, and it ends with the
// process however that ends. It does not listen, so nobody can connect to it.
type lease struct {
	name string // "address/127.64.0.1", "port/tcp/61000"
	fd   int
}

func takeLease(name string) (lease, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return lease{}, fmt.Errorf("hold %s: %w", name, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "@rollcall/" + name}); err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EADDRINUSE) {
			err = errTaken
		}
		return lease{}, fmt.Errorf("hold %s: %w", name, err)
	}
	return lease{name, fd}, nil
}

// drop gives it up at once; a lease that was not taken is no error.
func (l lease) drop() {
	if l.name != "" {
		unix.Close(l.fd)
	}
}

// leases takes and gives back addresses and ports.
type leases struct {
	block netip.Prefix
	keep  time.Duration // how long what is given back stays held at least
	file  string        // what is given back and still held, for a supervisor that comes after this one

	mu        sync.Mutex
	next      uint32 // offset in block of the address to try next
	ephemeral portRange
	ports     []portRange         // that may be chosen
	resting   map[string]*resting // what was given back and is still held, by name
}

// resting is a lease that nobody uses.
type resting struct {
	Until time.Time
	Group string // whose tasks may have it all the same ([agent.TaskSpec.Group])
	lease lease
}

// newLeases holds again what an earlier supervisor had been given back, for the rest of its time.
func newLeases(block netip.Prefix, keep time.Duration, file string) (*leases, error) {
	ephemeral := ephemeralPorts()
	l := &leases{block: block, keep: keep, file: file, next: rand.Uint32(), ephemeral: ephemeral, ports: choosable(ephemeral)}
	if err := readJSON(file, &l.resting); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("addresses that rest: %w; remove the file to forget them", err)
	}
	if l.resting == nil {
		l.resting = map[string]*resting{}
	}
	for name, r := range l.resting {
		left := min(time.Until(r.Until), max(keep, mostRest)) // the clock may have been set back
		held, err := takeLease(name)
		if left <= 0 || err != nil {
			delete(l.resting, name) // its time is over, or somebody else has it
			held.drop()
			continue
		}
		r.lease = held
		l.dropAfter(left, r)
	}
	return l, nil
}

// address takes a free address, going round the block from a random start so that addresses rest as long as possible.
func (l *leases) address() (netip.Addr, lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := uint32(1) << (32 - l.block.Bits())
	for range min(size, 1<<16) {
		l.next++
		address := addressAt(l.block, l.next%size)
		if last := address.As4()[3]; last == 0 || last == 255 {
			continue
		}
		held, err := takeLease("address/" + address.String())
		if errors.Is(err, errTaken) {
			continue
		}
		return address, held, err
	}
	return netip.Addr{}, lease{}, fault.New(fault.Unavailable, "address", "every address of %v is in use; stop tasks, or wait %v for those that were stopped", l.block, l.keep)
}

func addressAt(block netip.Prefix, offset uint32) netip.Addr {
	first := block.Addr().As4()
	number := uint32(first[0])<<24 | uint32(first[1])<<16 | uint32(first[2])<<8 | uint32(first[3])
	number += offset
	return netip.AddrFrom4([4]byte{byte(number >> 24), byte(number >> 16), byte(number >> 8), byte(number)})
}

// bindPorts takes the host ports of one container and says where its ports are. One container port gets the same host
// port for TCP and UDP.
func (l *leases) bindPorts(host netip.Addr, ports []agent.Port, group string) ([]agent.PortBinding, []lease, error) {
	var bindings []agent.PortBinding
	var held []lease
	for _, same := range byContainerPort(ports) {
		number, taken, err := l.hostPort(same, group)
		if err != nil {
			for _, h := range held {
				h.drop()
			}
			return nil, nil, err
		}
		held = append(held, taken...)
		for _, p := range same {
			bindings = append(bindings, agent.PortBinding{Container: p.Container, Host: number, HostIP: host, Protocol: protocolOf(p)})
		}
	}
	return bindings, held, nil
}

func protocolOf(p agent.Port) string {
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
			if !slices.ContainsFunc(group, func(q agent.Port) bool { return protocolOf(q) == protocolOf(p) }) {
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
func (l *leases) hostPort(same []agent.Port, group string) (uint16, []lease, error) {
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
		number := r.low + uint16(rand.IntN(int(r.high-r.low)+1))
		if held, err := l.leasePort(number, same, ""); err == nil {
			return number, held, nil
		}
	}
	return 0, nil, fault.New(fault.Unavailable, "host port", "no free port was found in %v; stop tasks, or free ports there", l.ports)
}

// leasePort takes one host port for all these protocols, or none. l.mu is held.
func (l *leases) leasePort(number uint16, same []agent.Port, group string) (held []lease, err error) {
	defer func() {
		if err != nil {
			for _, h := range held {
				h.drop()
			}
		}
	}()
	for _, p := range same {
		name := "port/" + protocolOf(p) + "/" + strconv.Itoa(int(number))
		l.wake(name, group)
		got, err := takeLease(name)
		if errors.Is(err, errTaken) {
			return held, errors.New("held by another task, or was by one of another service that clients may still look for there")
		}
		if err != nil {
			return held, err
		}
		held = append(held, got)
		if err := portIsFree(protocolOf(p), number); err != nil {
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
	return fmt.Errorf("in use by %s", portholder.Of(netip.Addr{}, number))
}

// mostRest bounds what a TTL makes a lease rest: a week, beyond which no answer lives (RFC 8767, section 4).
const mostRest = 7 * 24 * time.Hour

// giveBack drops leases when they have rested for the quarantine, or for as long as is asked for if that is longer. An
// error says that they are forgotten should this process end before.
func (l *leases) giveBack(back []lease, group string, rest time.Duration) error {
	rest = max(l.keep, min(rest, mostRest))
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, held := range back {
		r := &resting{Until: now().Add(rest), Group: group, lease: held}
		l.resting[held.name] = r
		l.dropAfter(rest, r)
	}
	return writeJSON(l.file, l.resting, false)
}

func (l *leases) dropAfter(rest time.Duration, r *resting) {
	time.AfterFunc(rest, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.drop(r)
	})
}

// wake ends a lease's rest for a task of the group that had it. l.mu is held.
func (l *leases) wake(name, group string) {
	if r := l.resting[name]; r != nil && group != "" && r.Group == group {
		l.drop(r)
	}
}

// drop ends a rest, unless that was done before. l.mu is held.
func (l *leases) drop(r *resting) {
	if l.resting[r.lease.name] == r {
		delete(l.resting, r.lease.name)
		r.lease.drop()
	}
}

// choosable are the ports that may be chosen for a task: of those that ECS chooses from (49153 to 65535), the ones
// outside of the ephemeral range; where those are few, from 20000 on.
func choosable(ephemeral portRange) []portRange {
	for _, low := range []uint16{49153, 20000} {
		free := without(portRange{low, 65535}, ephemeral)
		count := 0
		for _, r := range free {
			count += int(r.high-r.low) + 1
		}
		if count >= 1000 {
			return free
		}
	}
	return []portRange{{49153, 65535}}
}

// without is what remains of a range when another is taken out, without the ports that ECS never offers (51678 to 51680,
// those of its agent).
func without(from, out portRange) []portRange {
	rest := []portRange{from}
	for _, o := range []portRange{out, {51678, 51680}} {
		var next []portRange
		for _, r := range rest {
			if o.high < r.low || o.low > r.high {
				next = append(next, r)
				continue
			}
			if o.low > r.low {
				next = append(next, portRange{r.low, o.low - 1})
			}
			if o.high < r.high {
				next = append(next, portRange{o.high + 1, r.high})
			}
		}
		rest = next
	}
	return rest
}

// ephemeralPorts is the range from which the kernel serves sockets that ask for no port in particular.
func ephemeralPorts() portRange {
	var r portRange
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		_, err = fmt.Sscan(string(text), &r.low, &r.high)
	}
	if err != nil {
		return portRange{32768, 60999} // the kernel's default
	}
	return r
}

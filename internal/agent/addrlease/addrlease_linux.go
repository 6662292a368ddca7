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

// Lease is the exclusive right to use one address or port, among all Rollcalls on this machine.
//
// The lock is a Unix socket bound to a name in the abstract namespace (unix(7)). It needs no folder that every user can
// write to, its scope is the network namespace, as that of loopback addresses, and it ends with the process however
// that ends. The socket does not listen, so that no process can connect to it.
type Lease struct {
	name string // "address/127.64.0.1", "port/tcp/61000"
	fd   int
}

// Acquire acquires the lease of a name. It returns [ErrTaken] if another process has it.
func Acquire(name string) (Lease, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Lease{}, fmt.Errorf("lease %s: %w", name, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "@rollcall/" + name}); err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EADDRINUSE) {
			err = ErrTaken
		}
		return Lease{}, fmt.Errorf("lease %s: %w", name, err)
	}
	return Lease{name, fd}, nil
}

// Release releases the lease immediately. Releasing the zero lease does nothing.
func (l Lease) Release() {
	if l.name != "" {
		unix.Close(l.fd)
	}
}

// Pool leases addresses and host ports. Make one with [Open].
type Pool struct {
	// Ephemeral is the range from which the kernel assigns ports to sockets that are not bound to one. The pool chooses no
	// port in it.
	Ephemeral PortRange

	minRest time.Duration // the shortest time that a lease rests
	file    string        // the resting leases, for the next pool

	mu      sync.Mutex
	next    uint32              // the offset in a block of the address to try next
	ports   []PortRange         // that may be chosen
	resting map[string]*resting // leases that no task uses and that are still held, by name
}

// resting is a lease that no task uses.
type resting struct {
	Until time.Time
	Group string // tasks of this group may have it meanwhile ([agent.TaskSpec.Group])
	lease Lease
}

// Open returns a pool whose leases rest for minRest or longer. It acquires the leases that the file lists, which rested
// in an earlier pool, for the rest of their time.
func Open(minRest time.Duration, file string) (*Pool, error) {
	ephemeral := EphemeralPorts()
	p := &Pool{Ephemeral: ephemeral, minRest: minRest, file: file, next: rand.Uint32(), ports: choosable(ephemeral)}
	if err := atomicfile.Read(file, &p.resting); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read the addresses that rest: %w; remove the file to lease them immediately", err)
	}
	if p.resting == nil {
		p.resting = map[string]*resting{}
	}
	for name, r := range p.resting {
		left := min(time.Until(r.Until), max(minRest, maxRest)) // the clock may have been set back
		held, err := Acquire(name)
		if left <= 0 || err != nil {
			delete(p.resting, name) // its time has passed, or another process has it
			held.Release()
			continue
		}
		r.lease = held
		p.releaseAfter(left, r)
	}
	return p, nil
}

// Address leases a free address of a block. It goes through the block from a random start, so that each address rests
// as long as possible.
func (p *Pool) Address(block netip.Prefix) (netip.Addr, Lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	size := uint32(1) << (32 - block.Bits())
	for range min(size, 1<<16) {
		p.next++
		address := addressAt(block, p.next%size)
		if last := address.As4()[3]; last == 0 || last == 255 {
			continue
		}
		held, err := Acquire("address/" + address.String())
		if errors.Is(err, ErrTaken) {
			continue
		}
		return address, held, err
	}
	return netip.Addr{}, Lease{}, fault.New(fault.Unavailable, "address",
		"every address of %v is in use; stop tasks, or wait %v for the addresses of stopped ones", block, p.minRest)
}

// addressAt returns the address at an offset from the first of a block.
func addressAt(block netip.Prefix, offset uint32) netip.Addr {
	first := block.Addr().As4()
	number := uint32(first[0])<<24 | uint32(first[1])<<16 | uint32(first[2])<<8 | uint32(first[3])
	number += offset
	return netip.AddrFrom4([4]byte{byte(number >> 24), byte(number >> 16), byte(number >> 8), byte(number)})
}

// BindPorts leases the host ports of one container, and returns the address of each of its ports. One container port
// gets the same host port for TCP and UDP.
func (p *Pool) BindPorts(host netip.Addr, ports []agent.Port, group string) ([]agent.PortBinding, []Lease, error) {
	var bindings []agent.PortBinding
	var held []Lease
	for _, same := range byContainerPort(ports) {
		number, taken, err := p.hostPort(same, group)
		if err != nil {
			for _, h := range held {
				h.Release()
			}
			return nil, nil, err
		}
		held = append(held, taken...)
		for _, port := range same {
			bindings = append(bindings, agent.PortBinding{
				Container: port.Container, Host: number, HostIP: host, Protocol: ProtocolOf(port),
			})
		}
	}
	return bindings, held, nil
}

// ProtocolOf returns a port's protocol: tcp by default.
func ProtocolOf(p agent.Port) string {
	if p.Protocol == "" {
		return "tcp"
	}
	return p.Protocol
}

// byContainerPort groups the ports with the same container port, in their order and without repeated protocols.
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

// hostPort leases the host port that these ports (one container port, its protocols) name, or chooses one.
//
// A chosen port is outside of the range that the kernel uses for outgoing connections, and is leased for as long as the
// task exists. So before the task binds it, only a program that is configured to use this very port could bind it.
// Holding a socket until then would leave the same gap when the socket is closed.
func (p *Pool) hostPort(same []agent.Port, group string) (uint16, []Lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if number := same[0].Host; number != 0 {
		held, err := p.leasePort(number, same, group)
		if err != nil {
			return 0, nil, fault.New(fault.InUse, "host port",
				"%d is %v; free it, map another host port, or map host port 0 for any free one", number, err)
		}
		return number, held, nil
	}
	for range 4096 {
		r := p.ports[rand.IntN(len(p.ports))]
		number := r.Low + uint16(rand.IntN(int(r.High-r.Low)+1))
		if held, err := p.leasePort(number, same, ""); err == nil {
			return number, held, nil
		}
	}
	return 0, nil, fault.New(fault.Unavailable, "host port", "found no free port in %v; stop tasks, or free ports there",
		p.ports)
}

// leasePort leases one host port for all these protocols, or none. The caller holds p.mu.
func (p *Pool) leasePort(number uint16, same []agent.Port, group string) (held []Lease, err error) {
	defer func() {
		if err != nil {
			for _, h := range held {
				h.Release()
			}
		}
	}()
	for _, port := range same {
		name := "port/" + ProtocolOf(port) + "/" + strconv.Itoa(int(number))
		p.endRestFor(name, group)
		got, err := Acquire(name)
		if errors.Is(err, ErrTaken) {
			return held, errors.New("leased by another task, or was until a short time ago, " +
				"so that clients of another service may still look for it there")
		}
		if err != nil {
			return held, err
		}
		held = append(held, got)
		if err := portIsFree(ProtocolOf(port), number); err != nil {
			return held, err
		}
	}
	return held, nil
}

// portIsFree returns an error if the port cannot be bound on every address.
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
		return fmt.Errorf("not available: %w", err)
	}
	return fmt.Errorf("in use by %s", portowner.Of(netip.Addr{}, number))
}

// maxRest is the longest time that a TTL makes a lease rest: a week, after which no answer is valid (RFC 8767, section
// 4).
const maxRest = 7 * 24 * time.Hour

// Return releases leases once they have rested for the pool's shortest time, or for rest if that is longer. After an
// error they still rest, but a process that ends before forgets them.
func (p *Pool) Return(leases []Lease, group string, rest time.Duration) error {
	rest = max(p.minRest, min(rest, maxRest))
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, held := range leases {
		r := &resting{Until: time.Now().UTC().Round(0).Add(rest), Group: group, lease: held}
		p.resting[held.name] = r
		p.releaseAfter(rest, r)
	}
	return atomicfile.Write(p.file, p.resting, false)
}

// Close releases the leases that rest. The next pool with the same file acquires them again.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.resting {
		p.release(r)
	}
}

func (p *Pool) releaseAfter(rest time.Duration, r *resting) {
	time.AfterFunc(rest, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.release(r)
	})
}

// endRestFor ends the rest of a lease for a task of the group that had it. The caller holds p.mu.
func (p *Pool) endRestFor(name, group string) {
	if r := p.resting[name]; r != nil && group != "" && r.Group == group {
		p.release(r)
	}
}

// release releases a resting lease, unless that was done before. The caller holds p.mu.
func (p *Pool) release(r *resting) {
	if p.resting[r.lease.name] == r {
		delete(p.resting, r.lease.name)
		r.lease.Release()
	}
}

// choosable returns the ports that may be chosen for a task: of those that ECS chooses from (49153 to 65535), the ones
// outside of the ephemeral range; if there are few, also those from 20000 on.
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

// without returns a range without another and without the ports that ECS never chooses (51678 to 51680, those of its
// agent).
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

// EphemeralPorts returns the range from which the kernel assigns ports to sockets that are not bound to one.
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

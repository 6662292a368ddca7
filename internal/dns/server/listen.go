package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"

	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/portowner"
)

// bindTries is how often a port that is free over UDP but taken over TCP is exchanged for another one, when
// any will do.
const bindTries = 16

// listener is one address, over UDP and TCP.
type listener struct {
	addr    netip.AddrPort
	udp     *net.UDPConn
	tcp     *net.TCPListener
	running sync.WaitGroup // every goroutine that sends from the address

	mu     sync.Mutex
	conns  map[*net.TCPConn]bool
	closed bool
}

// bind opens an address for UDP and TCP, on one port. SO_REUSEPORT is not set, so a second server on the
// same address is refused.
func bind(addr string) (*listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, badAddress(addr)
	}
	var ip netip.Addr // not valid for an empty host: all addresses of both families
	if host != "" {
		if ip, err = netip.ParseAddr(host); err != nil {
			return nil, badAddress(addr)
		}
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, badAddress(addr)
	}
	for try := 1; ; try++ {
		l, err := open(ip, uint16(number))
		if err == nil {
			return l, nil
		}
		if number != 0 || try == bindTries || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, explain(addr, ip, uint16(number), err)
		}
	}
}

func badAddress(addr string) error {
	return fault.New(fault.Invalid, "DNS address", "%q is not IP:PORT, such as 127.0.0.1:7053 or [::1]:7053", addr)
}

func open(ip netip.Addr, port uint16) (*listener, error) {
	udp, tcp := "udp", "tcp"
	switch {
	case ip.Is4():
		udp, tcp = "udp4", "tcp4"
	case ip.IsValid():
		udp, tcp = "udp6", "tcp6"
	}
	host := ""
	if ip.IsValid() {
		host = ip.String()
	}
	u, err := (&net.ListenConfig{}).ListenPacket(context.Background(), udp, net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		return nil, err
	}
	l := &listener{udp: u.(*net.UDPConn), conns: map[*net.TCPConn]bool{}}
	bound := l.udp.LocalAddr().(*net.UDPAddr).AddrPort()
	if !ip.IsValid() {
		ip = bound.Addr()
	}
	l.addr = netip.AddrPortFrom(ip, bound.Port())
	t, err := net.Listen(tcp, net.JoinHostPort(host, strconv.Itoa(int(bound.Port()))))
	if err != nil {
		l.udp.Close()
		return nil, err
	}
	l.tcp = t.(*net.TCPListener)
	return l, nil
}

// explain says why an address cannot be listened on and what to do about it.
func explain(addr string, ip netip.Addr, port uint16, err error) error {
	var f *fault.Error
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		f = fault.New(fault.InUse, "DNS address", "%s is taken by %s; choose another with --dns, such as --dns %s for any free port",
			addr, portowner.Of(ip, port), anyPort(ip))
	case errors.Is(err, fs.ErrPermission):
		f = fault.New(fault.Denied, "DNS address", "%s needs root or CAP_NET_BIND_SERVICE, its port being below 1024; choose a higher one, such as --dns %s",
			addr, higher(ip))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		f = fault.New(fault.Invalid, "DNS address", "%s is no address of this host; choose one that is, such as --dns 127.0.0.1:7053", addr)
	default:
		return fmt.Errorf("listen for DNS on %s: %w", addr, err)
	}
	f.Err = err
	return f
}

func anyPort(ip netip.Addr) string { return withPort(ip, 0) }
func higher(ip netip.Addr) string  { return withPort(ip, 7053) }

func withPort(ip netip.Addr, port int) string {
	if !ip.IsValid() {
		return ":" + strconv.Itoa(port)
	}
	return netip.AddrPortFrom(ip, uint16(port)).String()
}

// close frees the address and waits until nothing more is sent from it.
func (l *listener) close() {
	l.mu.Lock()
	l.closed = true
	for c := range l.conns {
		c.Close()
	}
	l.mu.Unlock()
	l.udp.Close()
	l.tcp.Close()
	l.running.Wait()
}

// add notes a connection, so that close ends it; false when it is too late.
func (l *listener) add(c *net.TCPConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.conns[c] = true
	}
	return !l.closed
}

func (l *listener) remove(c *net.TCPConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

package server

import (
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

// maxBindAttempts is the number of attempts to find a port that is free over both UDP and TCP, if the caller accepts
// any port.
const maxBindAttempts = 16

// listener listens on one address over UDP and TCP.
type listener struct {
	addr    netip.AddrPort
	udp     *net.UDPConn
	tcp     *net.TCPListener
	running sync.WaitGroup // the goroutines that read from the sockets or send from the address

	mu     sync.Mutex
	conns  map[*net.TCPConn]bool
	closed bool
}

// bind listens on an address over UDP and TCP, on the same port. It does not set SO_REUSEPORT, so a second server
// cannot bind the same address.
func bind(addr string) (*listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, badAddress(addr)
	}
	var ip netip.Addr // invalid if the host is empty, which means all addresses of both families
	if host != "" {
		if ip, err = netip.ParseAddr(host); err != nil {
			return nil, badAddress(addr)
		}
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, badAddress(addr)
	}
	for attempt := 1; ; attempt++ {
		l, err := open(ip, uint16(number))
		if err == nil {
			return l, nil
		}
		if number != 0 || attempt == maxBindAttempts || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, bindError(addr, ip, uint16(number), err)
		}
	}
}

func badAddress(addr string) error {
	return fault.New(fault.Invalid, "DNS address",
		"%q must be of the form IP:PORT, such as 127.0.0.1:7053 or [::1]:7053", addr)
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
	u, err := net.ListenPacket(udp, net.JoinHostPort(host, strconv.Itoa(int(port))))
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
		_ = l.udp.Close()
		return nil, err
	}
	l.tcp = t.(*net.TCPListener)
	return l, nil
}

// bindError returns an error with the reason why bind failed and a remedy.
func bindError(addr string, ip netip.Addr, port uint16, err error) error {
	var f *fault.Error
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		f = fault.New(fault.InUse, "DNS address",
			"%s is in use by %s; choose another address with --dns, such as --dns %s for any free port",
			addr, portowner.Of(ip, port), anyPort(ip))
	case errors.Is(err, fs.ErrPermission):
		f = fault.New(fault.Denied, "DNS address",
			"%s needs root or CAP_NET_BIND_SERVICE, because its port is below 1024; "+
				"choose a higher port, such as --dns %s",
			addr, unprivilegedPort(ip))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		f = fault.New(fault.Invalid, "DNS address",
			"%s is not an address of this host; choose one that is, such as --dns 127.0.0.1:7053", addr)
	default:
		return fmt.Errorf("listen for DNS on %s: %w", addr, err)
	}
	f.Err = err
	return f
}

func anyPort(ip netip.Addr) string          { return withPort(ip, 0) }
func unprivilegedPort(ip netip.Addr) string { return withPort(ip, 7053) }

func withPort(ip netip.Addr, port int) string {
	if !ip.IsValid() {
		return ":" + strconv.Itoa(port)
	}
	return netip.AddrPortFrom(ip, uint16(port)).String()
}

// close closes the sockets and all connections, and waits until the server no longer sends from the address.
func (l *listener) close() {
	l.mu.Lock()
	l.closed = true
	for c := range l.conns {
		_ = c.Close()
	}
	l.mu.Unlock()
	_ = l.udp.Close()
	_ = l.tcp.Close()
	l.running.Wait()
}

// addConn registers a connection, so that close closes it. It returns false if the listener is closed.
func (l *listener) addConn(c *net.TCPConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.conns[c] = true
	}
	return !l.closed
}

func (l *listener) removeConn(c *net.TCPConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

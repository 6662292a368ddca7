package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// LinkLocal is where ECS's tasks find their credentials and metadata (Amazon ECS Developer Guide, "Task IAM role"); the AWS
// SDKs take credentials over plain HTTP from it and from loopback, and from nowhere else.
var LinkLocal = netip.MustParseAddr("169.254.170.2")

// Link listens on port 80 of [LinkLocal] for the containers of a network. The machine's end of each network is given that
// address, so the listener is bound to the network's interface too, and goes along when the engine makes that anew. It takes
// CAP_NET_ADMIN and CAP_NET_BIND_SERVICE.
func (r *Runtime) Link(n Network) (net.Listener, error) {
	l := &link{iface: bridgeName(r.owner, n)}
	if err := l.renew(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links = append(r.links, l)
	return l, nil
}

// renewLinks makes the links be where their networks are now.
func (r *Runtime) renewLinks() {
	r.mu.Lock()
	links := slices.Clone(r.links)
	r.mu.Unlock()
	for _, l := range links {
		if err := l.renew(); err != nil && !errors.Is(err, net.ErrClosed) {
			r.log.Warn("containers find neither metadata nor credentials", "err", err)
		}
	}
}

// link is a listener at an interface that may be replaced.
type link struct {
	iface string

	mu      sync.Mutex
	index   int          // of the interface that current is bound to
	current net.Listener // nil before the first
	closed  bool
}

// renew gives the interface its address, and listens there unless the listener is bound to this very interface.
func (l *link) renew() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	iface, err := netlink.LinkByName(l.iface)
	if err != nil {
		return fmt.Errorf("the interface %s: %w", l.iface, err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: LinkLocal.AsSlice(), Mask: net.CIDRMask(32, 32)}, Scope: int(netlink.SCOPE_LINK)}
	if err := netlink.AddrReplace(iface, addr); err != nil {
		return fmt.Errorf("give the interface %s the address %v: %w", l.iface, LinkLocal, err)
	}
	if l.current != nil && l.index == iface.Attrs().Index {
		return nil
	}
	bound := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), l.iface) }), err)
	}}
	next, err := bound.Listen(context.Background(), "tcp4", netip.AddrPortFrom(LinkLocal, 80).String())
	if err != nil {
		return fmt.Errorf("listen on %v at the interface %s: %w", LinkLocal, l.iface, err)
	}
	if l.current != nil {
		l.current.Close() // which sends Accept to the next
	}
	l.current, l.index = next, iface.Attrs().Index
	return nil
}

func (l *link) now() (current net.Listener, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current, l.closed
}

// Accept waits for a connection.
func (l *link) Accept() (net.Conn, error) {
	for {
		at, closed := l.now()
		c, err := at.Accept()
		if err == nil || closed {
			return c, err
		}
		if next, closed := l.now(); closed || next == at {
			return nil, err
		}
	}
}

// Close ends it for good.
func (l *link) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return l.current.Close()
}

// Addr is where it listens.
func (l *link) Addr() net.Addr { at, _ := l.now(); return at.Addr() }

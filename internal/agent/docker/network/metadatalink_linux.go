package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// MetadataLink is a listener on port 80 of [MetadataAddress] for the containers of one network.
//
// The machine's bridge interface of every network gets that same address, so the listener is also bound to the
// interface. The engine may replace the interface, when it restarts or when the network is created again; Renew then
// moves the listener to the new one, without an error from Accept.
type MetadataLink struct {
	iface string

	mu      sync.Mutex
	index   int          // of the interface that current is bound to
	current net.Listener // nil before the first Renew
	closed  bool
}

// ListenMetadata opens the metadata link at a bridge interface; see [BridgeName]. It needs CAP_NET_ADMIN and
// CAP_NET_BIND_SERVICE.
func ListenMetadata(bridge string) (*MetadataLink, error) {
	l := &MetadataLink{iface: bridge}
	if err := l.Renew(); err != nil {
		return nil, err
	}
	return l, nil
}

// Renew adds the address to the interface. It opens a new listener if the present one is bound to an interface that no
// longer exists.
func (l *MetadataLink) Renew() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	iface, err := netlink.LinkByName(l.iface)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", l.iface, err)
	}
	address := &net.IPNet{IP: MetadataAddress.AsSlice(), Mask: net.CIDRMask(32, 32)}
	if err := netlink.AddrReplace(iface, &netlink.Addr{IPNet: address, Scope: int(netlink.SCOPE_LINK)}); err != nil {
		return fmt.Errorf("add address %v to interface %s: %w", MetadataAddress, l.iface, err)
	}
	if l.current != nil && l.index == iface.Attrs().Index {
		return nil
	}
	next, err := listenOn(l.iface, netip.AddrPortFrom(MetadataAddress, 80))
	if err != nil {
		return fmt.Errorf("listen on %v at interface %s: %w", MetadataAddress, l.iface, err)
	}
	if l.current != nil {
		_ = l.current.Close() // Accept continues with next
	}
	l.current, l.index = next, iface.Attrs().Index
	return nil
}

// listenOn returns a listener that accepts only connections that arrive at the interface.
func listenOn(iface string, address netip.AddrPort) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), iface) }), err)
	}}
	return config.Listen(context.Background(), "tcp4", address.String())
}

func (l *MetadataLink) listener() (current net.Listener, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current, l.closed
}

// Accept waits for the next connection.
func (l *MetadataLink) Accept() (net.Conn, error) {
	for {
		current, closed := l.listener()
		c, err := current.Accept()
		if err == nil || closed {
			return c, err
		}
		if next, closed := l.listener(); closed || next == current {
			return nil, err
		}
	}
}

// Close ends the link; Renew does not open it again.
func (l *MetadataLink) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return l.current.Close()
}

// Addr returns the address that the link listens on.
func (l *MetadataLink) Addr() net.Addr {
	current, _ := l.listener()
	return current.Addr()
}

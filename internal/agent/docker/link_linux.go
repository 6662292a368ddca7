package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// LinkLocal is where ECS's tasks find their credentials and metadata (Amazon ECS Developer Guide, "Task IAM role"); the AWS
// SDKs take credentials over plain HTTP from it and from loopback, and from nowhere else.
var LinkLocal = netip.MustParseAddr("169.254.170.2")

// Link listens on port 80 of [LinkLocal] for the containers of a network. The machine's end of each network is given that
// address, so the listener is bound to the network's interface too. It takes CAP_NET_ADMIN and CAP_NET_BIND_SERVICE.
func (r *Runtime) Link(n Network) (net.Listener, error) {
	name := bridgeName(r.owner, n)
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("the interface %s of the network %s: %w", name, r.networkName(n), err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: LinkLocal.AsSlice(), Mask: net.CIDRMask(32, 32)}, Scope: int(netlink.SCOPE_LINK)}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return nil, fmt.Errorf("give the interface %s the address %v: %w", name, LinkLocal, err)
	}
	listen := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), name) }), err)
	}}
	l, err := listen.Listen(context.Background(), "tcp4", netip.AddrPortFrom(LinkLocal, 80).String())
	if err != nil {
		return nil, fmt.Errorf("listen on %v at the interface %s: %w", LinkLocal, name, err)
	}
	return l, nil
}

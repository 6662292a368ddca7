package server

import (
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// On a socket that is bound to all addresses of a host, a program cannot see to which of them a datagram was sent, and
// the kernel chooses the source address of the reply by its route. If the source differs from the address that the
// client has queried, the client ignores the reply. Control messages (IP_PKTINFO, ip(7)) carry the destination of each
// received datagram, and set the source of each sent one.

// destination determines the destination address of datagrams. A socket that is bound to one address needs no control
// messages.
type destination struct {
	oob   []byte     // the buffer for control messages; nil if the socket is bound to one address
	bound netip.Addr // the address of the socket
}

func newDestination(l *listener) destination {
	d := destination{bound: l.addr.Addr()}
	if !d.bound.IsUnspecified() {
		return d
	}
	// A socket of both families needs both calls. On a socket of one family, the other call fails without harm.
	_ = ipv4.NewPacketConn(l.udp).SetControlMessage(ipv4.FlagDst, true)
	_ = ipv6.NewPacketConn(l.udp).SetControlMessage(ipv6.FlagDst, true)
	d.oob = make([]byte, len(ipv4.NewControlMessage(ipv4.FlagDst))+len(ipv6.NewControlMessage(ipv6.FlagDst)))
	return d
}

// parse returns the destination of a datagram whose control messages are the first oobn octets of the buffer.
func (d destination) parse(oobn int) netip.Addr {
	if d.oob == nil {
		return d.bound
	}
	var dst net.IP
	var c6 ipv6.ControlMessage
	if c6.Parse(d.oob[:oobn]) == nil {
		dst = c6.Dst
	}
	var c4 ipv4.ControlMessage
	if dst == nil && c4.Parse(d.oob[:oobn]) == nil {
		dst = c4.Dst
	}
	if a, ok := netip.AddrFromSlice(dst); ok {
		return a.Unmap()
	}
	return d.bound
}

// sourceControl returns the control message that sets the source address of a datagram, or nil if the socket is bound
// to one address.
func sourceControl(l *listener, local netip.Addr) []byte {
	switch {
	case !l.addr.Addr().IsUnspecified() || local.IsUnspecified():
		return nil
	case local.Is4():
		return (&ipv4.ControlMessage{Src: local.AsSlice()}).Marshal()
	default:
		return (&ipv6.ControlMessage{Src: local.AsSlice()}).Marshal()
	}
}

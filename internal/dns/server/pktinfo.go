package server

import (
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// A socket on all addresses of a host does not say by itself which of them a datagram was sent to, and would
// answer from whichever the route back suggests, which the client then ignores. So the kernel is asked to
// tell (IP_PKTINFO, ip(7)), and told, for each datagram.

// destination reads what the kernel tells. Sockets on one address need none of it.
type destination struct {
	oob []byte // the buffer for control messages; nil for a socket on one address
	one netip.Addr
}

func newDestination(l *listener) destination {
	d := destination{one: l.addr.Addr()}
	if !d.one.IsUnspecified() {
		return d
	}
	// A socket of both families gets both; on one of a single family the other call fails, and may.
	ipv4.NewPacketConn(l.udp).SetControlMessage(ipv4.FlagDst, true)
	ipv6.NewPacketConn(l.udp).SetControlMessage(ipv6.FlagDst, true)
	d.oob = make([]byte, len(ipv4.NewControlMessage(ipv4.FlagDst))+len(ipv6.NewControlMessage(ipv6.FlagDst)))
	return d
}

// of returns the address that the datagram just read was sent to.
func (d destination) of(oobn int) netip.Addr {
	if d.oob == nil {
		return d.one
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
	return d.one
}

// sourceControl is the control message that sends a datagram from one of a host's addresses; nil for a
// socket that has only one.
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

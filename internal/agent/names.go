package agent

import "net/netip"

// DNSServer is the node's DNS server, which also answers on addresses that come and go with tasks.
type DNSServer interface {
	Listen(addr netip.AddrPort) error
	Close(addr netip.AddrPort) error
}

// ResolverPort is the port that the C library sends queries to (resolv.conf has no ports).
const ResolverPort = 53

// Names is how the tasks of a node resolve names. The node's runtime returns it.
type Names struct {
	// For returns the resolver for tasks of a network mode and a VPC, nil if they keep the one of their image or machine,
	// and the address of the DNS server that they find in $ROLLCALL_DNS. A nil func provides neither.
	For func(networkMode, vpc string) (*Resolver, netip.AddrPort)
	// OnTaskAddress reports that a task with a resolver sends its queries to its own address, so that the agent opens the
	// DNS server there for as long as the task exists.
	OnTaskAddress bool
	// Unavailable is the reason why tasks have no resolver and find names only through $ROLLCALL_DNS; empty if they have
	// one.
	Unavailable string
}

// LocalAddress returns the address at which programs on this machine reach a server that listens on addr: the loopback
// address if addr is unspecified.
func LocalAddress(addr netip.AddrPort) netip.AddrPort {
	if addr.Addr().IsUnspecified() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), addr.Port())
	}
	return addr
}

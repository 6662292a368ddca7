package process

import (
	"errors"
	"net"
	"net/netip"
	"os"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// loopback is the address at which tasks reach this machine, whose network they share.
var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// trialAddress is the address on which resolverFailure tries whether DNS can listen on port 53. A task could have it.
var trialAddress = netip.AddrFrom4([4]byte{127, 127, 255, 53})

// Capabilities returns what this runtime can do; see [agent.Runtime].
func (r *Runtime) Capabilities() agent.Capabilities {
	return agent.Capabilities{PrivateHosts: r.canMount() == nil}
}

// EngineVersion is empty, as there is no container engine.
func (r *Runtime) EngineVersion() string { return "" }

// NodeAddress returns the address at which tasks reach servers on this machine's loopback.
func (r *Runtime) NodeAddress() netip.Addr { return loopback }

// MetadataListeners returns none: processes reach the endpoint's own listener on loopback.
func (r *Runtime) MetadataListeners() []net.Listener { return nil }

// Notes returns none.
func (r *Runtime) Notes() []string { return nil }

// Names returns how tasks resolve names: each at a DNS server on its own address, if this process may listen on port 53
// there and can mount a private /etc/resolv.conf; otherwise only at listening, where dns already listens.
func (r *Runtime) Names(dns agent.DNSServer, listening netip.AddrPort) agent.Names {
	at := agent.LocalAddress(listening)
	var resolver *agent.Resolver
	unavailable := r.resolverFailure(dns)
	if unavailable != nil {
		r.log.Info("tasks have no resolver and find names only at $ROLLCALL_DNS", "dns", at, "err", unavailable)
	} else {
		resolver = &agent.Resolver{} // the task's own address
	}
	names := agent.Names{
		OnTaskAddress: resolver != nil,
		For: func(mode, _ string) (*agent.Resolver, netip.AddrPort) {
			if mode != agent.NetworkAWSVPC {
				return nil, at
			}
			return resolver, at
		},
	}
	if unavailable != nil {
		names.Unavailable = unavailable.Error()
	}
	return names
}

// resolverFailure returns why tasks cannot have a resolver on their own address; nil if they can.
func (r *Runtime) resolverFailure(dns agent.DNSServer) error {
	at := netip.AddrPortFrom(trialAddress, agent.ResolverPort)
	err := dns.Listen(at)
	if errors.Is(err, os.ErrPermission) {
		return errors.New("port 53 of a task's address requires root or CAP_NET_BIND_SERVICE")
	}
	if err != nil {
		return err
	}
	if err := dns.Close(at); err != nil {
		return err
	}
	return r.canMount()
}

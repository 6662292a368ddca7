package docker

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker/network"
)

// Capabilities returns what this runtime can do; see [agent.Runtime].
func (r *Runtime) Capabilities() agent.Capabilities {
	return agent.Capabilities{Images: true, PrivateHosts: true}
}

// EngineVersion returns the version of the engine.
func (r *Runtime) EngineVersion() string { return r.version }

// NodeAddress returns the address at which containers reach servers on this machine: its own on the first network, which
// containers on the other networks reach too.
func (r *Runtime) NodeAddress() netip.Addr { return r.config.Networks[0].Gateway() }

// note adds to what [Runtime.Notes] returns, and to the log.
func (r *Runtime) note(text string) {
	r.log.Warn(text)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.notes, text) {
		r.notes = append(r.notes, text)
	}
}

// names is how the containers on one network, or in the network mode host, resolve names.
type names struct {
	resolver *agent.Resolver
	dns      netip.AddrPort
}

// Names returns how containers resolve names: at a DNS server on the machine's own address in their network, so that the
// server sees the container's address as the source of a query. Where port 53 of it cannot be opened, containers find names
// only at another port. If all can be opened, a container on each network tests in the background that queries arrive.
func (r *Runtime) Names(dns agent.DNSServer, first netip.AddrPort) agent.Names {
	unavailable := ""
	open := func(addr netip.Addr, otherwise func() netip.AddrPort) names {
		at := netip.AddrPortFrom(addr, agent.ResolverPort)
		err := dns.Listen(at)
		if err == nil {
			return names{&agent.Resolver{Nameserver: addr}, at}
		}
		if errors.Is(err, os.ErrPermission) {
			err = errors.New("port 53 takes root or CAP_NET_BIND_SERVICE: setcap cap_net_bind_service+ep " + thisProgram())
		}
		unavailable = fmt.Sprintf("containers cannot ask %v: %v", at, err)
		r.log.Warn("containers have no resolver and find names only at $ROLLCALL_DNS", "err", unavailable)
		return names{nil, otherwise()}
	}
	byVPC := map[string]names{}
	for _, n := range r.config.Networks {
		byVPC[n.VPC] = open(n.Gateway(), func() netip.AddrPort { return r.openOtherPort(dns, n, first) })
	}
	host := open(hostResolver(r.config.Dir), func() netip.AddrPort { return agent.LocalAddress(first) })
	if unavailable == "" {
		r.running.Go(r.testResolvers)
	}
	return agent.Names{For: namesFor(byVPC, r.config.Networks[0].VPC, host), Unavailable: unavailable}
}

// namesFor returns the function of [agent.Names]. A container of a VPC without a network is on that of firstVPC.
func namesFor(byVPC map[string]names, firstVPC string, host names) func(mode, vpc string) (*agent.Resolver, netip.AddrPort) {
	return func(mode, vpc string) (*agent.Resolver, netip.AddrPort) {
		if mode == agent.NetworkHost {
			return host.resolver, host.dns
		}
		found, ok := byVPC[vpc]
		if !ok {
			found = byVPC[firstVPC]
		}
		return found.resolver, found.dns
	}
}

// openOtherPort opens the DNS server for a network whose port 53 cannot be opened, on the port of --dns, and returns where.
func (r *Runtime) openOtherPort(dns agent.DNSServer, n network.Network, first netip.AddrPort) netip.AddrPort {
	at := netip.AddrPortFrom(n.Gateway(), first.Port())
	if first.Addr().IsUnspecified() {
		return at
	}
	if err := dns.Listen(at); err != nil {
		r.log.Error("containers cannot resolve names", "err", err)
	}
	return at
}

// hostResolver returns the address that containers in the network mode host send queries to: one on loopback, since Docker
// masquerades what the machine sends to its own end of a container network, which hides the source. It stays the same for a
// data folder, as it is in the containers' resolv.conf.
func hostResolver(dir string) netip.Addr {
	sum := sha256.Sum256([]byte(dir))
	return netip.AddrFrom4([4]byte{127, 53, sum[0], 1 + sum[1]%254})
}

// thisProgram returns the path of this program for use in a command.
func thisProgram() string {
	self, err := os.Executable()
	if err != nil {
		return "rollcall"
	}
	return self
}

// testResolvers sends a query to each network's resolver from a container, as a firewall on the machine may drop it.
func (r *Runtime) testResolvers() {
	for _, n := range r.config.Networks {
		if err := r.TestResolver(r.ctx, n); err != nil && r.ctx.Err() == nil {
			r.note(fmt.Sprintf("containers do not reach DNS at %v: %v", n.Gateway(), err))
		}
	}
}

// MetadataListeners listens where containers look for metadata and credentials: 169.254.170.2 on each of their networks.
// Where that is not possible, they find metadata on a port of the first network's gateway, from which the AWS SDKs accept no
// credentials.
func (r *Runtime) MetadataListeners() []net.Listener {
	var all []net.Listener
	var problem error
	for _, n := range r.config.Networks {
		l, err := r.Link(n)
		if err != nil {
			problem = errors.Join(problem, err)
			continue
		}
		all = append(all, l)
	}
	if problem == nil {
		return all
	}
	for _, l := range all {
		l.Close()
	}
	if errors.Is(problem, os.ErrPermission) {
		problem = fmt.Errorf("it takes root, or CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE: %w", problem)
	}
	r.note(fmt.Sprintf("containers get no credentials, since nothing can listen on %v for them: %v", network.MetadataAddress, problem))
	l, err := net.Listen("tcp4", netip.AddrPortFrom(r.NodeAddress(), 0).String())
	if err != nil {
		r.note(fmt.Sprintf("containers find no metadata: %v", err))
		return nil
	}
	return []net.Listener{l}
}

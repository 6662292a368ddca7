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

// NodeAddress returns the address at which containers reach servers on this machine: the gateway of the first network,
// which containers on the other networks reach too.
func (r *Runtime) NodeAddress() netip.Addr { return r.config.Networks[0].Gateway() }

// note logs a problem and adds it to [Runtime.Notes].
func (r *Runtime) note(text string) {
	r.log.Warn(text)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.notes, text) {
		r.notes = append(r.notes, text)
	}
}

// resolution is how the containers on one network, or in network mode host, resolve names.
type resolution struct {
	resolver *agent.Resolver // nil if the DNS server cannot listen on port 53
	dns      netip.AddrPort
}

// Names makes the DNS server, which already listens on the address listening, also listen on each network's gateway,
// and returns how containers resolve names. The server sees a container's own address as the source of a query. If it
// cannot listen on port 53, it listens on the port of listening, which containers find in $ROLLCALL_DNS. If it can, a
// self-test checks in the background that queries arrive.
func (r *Runtime) Names(dns agent.DNSServer, listening netip.AddrPort) agent.Names {
	unavailable := ""
	listen := func(addr netip.Addr, fallback func() netip.AddrPort) resolution {
		at := netip.AddrPortFrom(addr, agent.ResolverPort)
		err := dns.Listen(at)
		if err == nil {
			return resolution{&agent.Resolver{Nameserver: addr}, at}
		}
		if errors.Is(err, os.ErrPermission) {
			err = errors.New("port 53 requires root or CAP_NET_BIND_SERVICE: setcap cap_net_bind_service+ep " +
				thisProgram())
		}
		unavailable = fmt.Sprintf("containers cannot send queries to %v: %v", at, err)
		r.log.Warn("containers have no resolver; they find namespaces only at the server in $ROLLCALL_DNS",
			"err", unavailable)
		return resolution{nil, fallback()}
	}
	byVPC := map[string]resolution{}
	for _, n := range r.config.Networks {
		byVPC[n.VPC] = listen(n.Gateway(), func() netip.AddrPort { return r.listenOnOtherPort(dns, n, listening) })
	}
	host := listen(hostResolver(r.config.Dir), func() netip.AddrPort { return agent.LocalAddress(listening) })
	if unavailable == "" {
		r.running.Go(r.testResolvers)
	}
	return agent.Names{For: resolutionOf(byVPC, r.config.Networks[0].VPC, host), Unavailable: unavailable}
}

// resolveFunc is the type of [agent.Names.For].
type resolveFunc = func(networkMode, vpc string) (*agent.Resolver, netip.AddrPort)

// resolutionOf returns the value of [agent.Names.For]. Containers in a VPC without a network are on that of firstVPC.
func resolutionOf(byVPC map[string]resolution, firstVPC string, host resolution) resolveFunc {
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

// listenOnOtherPort makes the DNS server listen on a network's gateway at the port of listening, and returns that
// address.
func (r *Runtime) listenOnOtherPort(dns agent.DNSServer, n network.Network, listening netip.AddrPort) netip.AddrPort {
	at := netip.AddrPortFrom(n.Gateway(), listening.Port())
	if listening.Addr().IsUnspecified() {
		return at // the server listens on all addresses
	}
	if err := dns.Listen(at); err != nil {
		r.log.Error("containers cannot resolve names", "err", err)
	}
	return at
}

// hostResolver returns the address to which containers in network mode host send queries: one on loopback, since Docker
// masquerades what the machine sends to the gateway of a network, which hides the source. A data folder keeps its
// address, since the containers' resolv.conf contains it.
func hostResolver(dir string) netip.Addr {
	sum := sha256.Sum256([]byte(dir))
	return netip.AddrFrom4([4]byte{127, 53, sum[0], 1 + sum[1]%254})
}

// thisProgram returns the path of this program, for a command that users can copy.
func thisProgram() string {
	self, err := os.Executable()
	if err != nil {
		return "rollcall"
	}
	return self
}

// testResolvers runs the self-test on each network: a firewall on the machine may drop the containers' queries.
func (r *Runtime) testResolvers() {
	for _, n := range r.config.Networks {
		if err := r.testResolver(r.ctx, n); err != nil && r.ctx.Err() == nil {
			r.note(fmt.Sprintf("containers do not reach DNS at %v: %v", n.Gateway(), err))
		}
	}
}

// MetadataListeners listens at [network.MetadataAddress] on each network, where containers look for metadata and
// credentials. If that is not possible, it listens on a port of the first network's gateway; the AWS SDKs accept
// metadata from there, but no credentials.
func (r *Runtime) MetadataListeners() []net.Listener {
	var all []net.Listener
	var problem error
	for _, n := range r.config.Networks {
		l, err := r.listenMetadata(n)
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
		_ = l.Close()
	}
	if errors.Is(problem, os.ErrPermission) {
		problem = fmt.Errorf("run as root, or with CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE: %w", problem)
	}
	r.note(fmt.Sprintf("containers get no credentials: cannot listen on %v: %v", network.MetadataAddress, problem))
	l, err := net.Listen("tcp4", netip.AddrPortFrom(r.NodeAddress(), 0).String())
	if err != nil {
		r.note(fmt.Sprintf("containers find no metadata: %v", err))
		return nil
	}
	return []net.Listener{l}
}

// listenMetadata opens the metadata link of a network and keeps it on the network's interface.
func (r *Runtime) listenMetadata(n network.Network) (net.Listener, error) {
	l, err := network.ListenMetadata(network.BridgeName(r.owner, n))
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links = append(r.links, l)
	return l, nil
}

// renewLinks moves the metadata links to interfaces that the engine has replaced.
func (r *Runtime) renewLinks() {
	r.mu.Lock()
	links := slices.Clone(r.links)
	r.mu.Unlock()
	for _, l := range links {
		if err := l.Renew(); err != nil && !errors.Is(err, net.ErrClosed) {
			r.log.Warn("containers find neither metadata nor credentials", "err", err)
		}
	}
}

package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker"
	"github.com/bakingclouds/rollcall/internal/agent/process"
	"github.com/bakingclouds/rollcall/internal/dns/server"
)

// namesForProcesses is how process tasks find names: each at a DNS server on its own address, where that can be had.
func (a *App) namesForProcesses(ctx context.Context, cfg *agent.Config) {
	dns := a.dnsForTasks()
	if err := a.taskResolvers(ctx); err != nil {
		a.resolver = err.Error()
		a.log.Info("tasks have no resolver of their own and find names at $ROLLCALL_DNS", "dns", dns, "why", err)
	} else {
		cfg.Listener = taskListener{a.dns}
	}
	cfg.Names = func(mode, _ string) (*agent.Resolver, netip.AddrPort) {
		if cfg.Listener == nil || mode != agent.NetworkAWSVPC {
			return nil, dns
		}
		return &agent.Resolver{}, dns
	}
}

// dnsForTasks is where this machine's tasks reach DNS.
func (a *App) dnsForTasks() netip.AddrPort {
	at := a.dnsAddrs[0]
	if at.Addr().IsUnspecified() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port())
	}
	return at
}

// taskResolvers says why tasks cannot have a resolver of their own: it takes a private /etc/resolv.conf,
// and port 53 on their addresses.
func (a *App) taskResolvers(ctx context.Context) error {
	at, err := a.dns.Listen("127.127.255.53:53") // no task has an address that ends so high
	if errors.Is(err, os.ErrPermission) {
		return errors.New("to answer on port 53 of a task's address takes root or CAP_NET_BIND_SERVICE")
	}
	if err != nil {
		return err
	}
	a.dns.Close(at)
	return process.CanMountResolver(ctx)
}

// taskListener opens DNS on the addresses of tasks.
type taskListener struct{ dns *server.Server }

func (l taskListener) Listen(at netip.AddrPort) error {
	_, err := l.dns.Listen(at.String())
	return err
}

func (l taskListener) Close(at netip.AddrPort) error {
	l.dns.Close(at)
	return nil
}

// namesForContainers is how containers find names: at a DNS server on the machine's own address in their network, which
// they are the source of the queries to. Where port 53 is not to be had there, they are told of another port.
func (a *App) namesForContainers(cfg *agent.Config) {
	type names struct {
		resolver *agent.Resolver
		dns      netip.AddrPort
	}
	listen := func(addr netip.Addr, otherwise func() netip.AddrPort) names {
		at := netip.AddrPortFrom(addr, agent.ResolverPort)
		_, err := a.dns.Listen(at.String())
		if err == nil {
			return names{&agent.Resolver{Nameserver: addr}, at}
		}
		if errors.Is(err, os.ErrPermission) {
			err = errors.New("port 53 takes root or CAP_NET_BIND_SERVICE: setcap cap_net_bind_service+ep " + binary())
		}
		a.resolver = fmt.Sprintf("containers cannot ask %v: %v", at, err)
		a.log.Warn("containers have no resolver of their own and find names at $ROLLCALL_DNS", "why", a.resolver)
		return names{nil, otherwise()}
	}
	byVPC := map[string]names{}
	for _, n := range a.networks {
		byVPC[n.VPC] = listen(n.Gateway(), func() netip.AddrPort { return a.otherPort(n) })
	}
	host := listen(a.hostResolver(), a.dnsForTasks)
	cfg.Names = func(mode, vpc string) (*agent.Resolver, netip.AddrPort) {
		if mode == agent.NetworkHost {
			return host.resolver, host.dns
		}
		found, ok := byVPC[vpc]
		if !ok {
			found = byVPC[a.networks[0].VPC]
		}
		return found.resolver, found.dns
	}
}

// hostResolver is where containers on the machine's own network ask: an address on loopback, since what the machine sends to
// its end of a container network comes from elsewhere (Docker masquerades it). It stays the same for a data folder, as
// containers have it in their resolv.conf.
func (a *App) hostResolver() netip.Addr {
	dir, err := filepath.Abs(a.cfg.DataDir)
	if err != nil {
		dir = a.cfg.DataDir
	}
	sum := sha256.Sum256([]byte(dir))
	return netip.AddrFrom4([4]byte{127, 53, sum[0], 1 + sum[1]%254})
}

// otherPort is where containers of a network ask when port 53 is not to be had: the port of --dns.
func (a *App) otherPort(n docker.Network) netip.AddrPort {
	at := netip.AddrPortFrom(n.Gateway(), a.dnsAddrs[0].Port())
	if a.dnsAddrs[0].Addr().IsUnspecified() {
		return at
	}
	if _, err := a.dns.Listen(at.String()); err != nil {
		a.log.Error("containers find no names at all", "why", err)
	}
	return at
}

// binary is this program, as a command names it.
func binary() string {
	self, err := os.Executable()
	if err != nil {
		return "rollcall"
	}
	return self
}

// mayRecurse says whose questions for other names are forwarded: this machine's, its tasks' among them.
func (a *App) mayRecurse(client netip.Addr) bool {
	if client.IsLoopback() {
		return true
	}
	networks := a.recursers.Load()
	if networks == nil {
		return false
	}
	for _, n := range *networks {
		if n.Prefix.Contains(client) || n.Prefix6.IsValid() && n.Prefix6.Contains(client) {
			return true
		}
	}
	return false
}

// testResolvers asks each resolver of containers from inside of one: a firewall of the machine's may stand between.
func (a *App) testResolvers(ctx context.Context, rt *docker.Runtime) {
	for _, n := range a.networks {
		if err := rt.TestResolver(ctx, n); err != nil && ctx.Err() == nil {
			a.note(fmt.Sprintf("containers do not reach DNS at %v: %v", n.Gateway(), err))
		}
	}
}

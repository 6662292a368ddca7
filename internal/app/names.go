package app

import (
	"context"
	"net/netip"

	"github.com/bakingclouds/rollcall/internal/dns/server"
)

// setUpNames makes DNS listen where the runtime's tasks send their queries.
func (a *App) setUpNames(context.Context) error {
	if a.runtime != nil {
		a.names = a.runtime.Names(taskDNS{a.dns}, a.dnsAddrs[0])
	}
	return nil
}

// taskDNS makes the DNS server listen on more addresses. It implements [agent.DNSServer].
type taskDNS struct{ dns *server.Server }

func (d taskDNS) Listen(at netip.AddrPort) error {
	_, err := d.dns.Listen(at.String())
	return err
}

func (d taskDNS) Close(at netip.AddrPort) error {
	d.dns.Close(at)
	return nil
}

// mayRecurse reports whether DNS forwards a client's queries for names of other zones: those of clients on this
// machine, its containers included.
func (a *App) mayRecurse(client netip.Addr) bool {
	if client.IsLoopback() {
		return true
	}
	networks := a.taskNetworks.Load()
	if networks == nil {
		return false
	}
	for _, n := range *networks {
		if n.Contains(client) {
			return true
		}
	}
	return false
}

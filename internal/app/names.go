package app

import (
	"context"
	"net/netip"

	"github.com/bakingclouds/rollcall/internal/dns/server"
)

// setUpNames has the runtime open DNS where its tasks send their queries.
func (a *App) setUpNames(context.Context) error {
	if a.runtime != nil {
		a.names = a.runtime.Names(taskDNS{a.dns}, a.dnsAddrs[0])
	}
	return nil
}

// taskDNS opens the DNS server on more addresses.
type taskDNS struct{ dns *server.Server }

func (d taskDNS) Listen(at netip.AddrPort) error {
	_, err := d.dns.Listen(at.String())
	return err
}

func (d taskDNS) Close(at netip.AddrPort) error {
	d.dns.Close(at)
	return nil
}

// mayRecurse reports whether a client's queries for other names are forwarded: those of this machine and of its tasks.
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

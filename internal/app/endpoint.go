package app

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/metadata"
	"github.com/bakingclouds/rollcall/internal/api/awsapi"
)

// apiHost is the host name of the API in the private hosts file of a task. Some SDKs put "data-" before the host of
// DiscoverInstances, so that name is in the file too (docs/clients.md).
const apiHost = "rollcall.internal"

// openEndpoint opens the endpoint where tasks find their metadata and credentials.
func (a *App) openEndpoint(context.Context) error {
	if a.runtime == nil {
		return nil
	}
	api := a.openTaskAPI()
	cfg := metadata.Config{
		DB: a.db, Dir: a.cfg.DataDir, Zone: zone, Log: a.log, Usage: a.runtime.Usage, Links: a.runtime.MetadataListeners(),
		API: "http://" + api.String(),
		Issue: func(expires time.Time) metadata.Keys {
			s := a.keys.Issue(awsapi.Workload, expires)
			return metadata.Keys{AccessKeyID: s.AccessKeyID, Secret: s.Secret, SessionToken: s.SessionToken, Expires: s.Expires}
		},
	}
	if a.runtime.Capabilities().PrivateHosts {
		a.hosts = map[string]netip.Addr{apiHost: api.Addr(), "data-" + apiHost: api.Addr()}
		cfg.Alias = fmt.Sprintf("http://%s:%d", apiHost, api.Port())
	}
	var err error
	if a.endpoint, err = metadata.Open(cfg); err != nil {
		return err
	}
	a.cleanup(a.endpoint.Close)
	return nil
}

// openTaskAPI returns the address at which tasks reach the API, and opens it if they cannot reach that of --api.
func (a *App) openTaskAPI() netip.AddrPort {
	at, more := taskAPI(addrPort(a.api[0]), a.runtime.NodeAddress())
	if !more {
		return at
	}
	l, err := net.Listen("tcp4", at.String())
	if err != nil {
		a.note(fmt.Sprintf("tasks do not reach the API at %v: %v", at, err))
		return at
	}
	a.api = append(a.api, l)
	a.cleanup(func() { l.Close() })
	return at
}

// taskAPI returns the address at which tasks reach an API that listens on api, on a machine that they reach at node.
// more reports that the API must also listen there, since it listens only on loopback and node is another address.
func taskAPI(api netip.AddrPort, node netip.Addr) (at netip.AddrPort, more bool) {
	switch {
	case api.Addr().IsUnspecified():
		return netip.AddrPortFrom(node, api.Port()), false
	case !api.Addr().Unmap().IsLoopback() || node.IsLoopback():
		return api, false
	}
	return netip.AddrPortFrom(node, api.Port()), true
}

// addrPort returns the address of a TCP listener.
func addrPort(l net.Listener) netip.AddrPort {
	at := l.Addr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

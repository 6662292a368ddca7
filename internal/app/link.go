package app

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/bakingclouds/rollcall/internal/agent/docker"
)

// openLinks listens where containers look for credentials and metadata: 169.254.170.2, on each of their networks. Where
// that cannot be had, they are told of a port on their gateway, from which the SDKs take no credentials.
func (a *App) openLinks(rt *docker.Runtime) []net.Listener {
	var links []net.Listener
	var problem error
	for _, n := range a.networks {
		l, err := rt.Link(n)
		if err != nil {
			problem = errors.Join(problem, err)
			continue
		}
		links = append(links, l)
	}
	if problem == nil {
		return links
	}
	for _, l := range links {
		l.Close()
	}
	if errors.Is(problem, os.ErrPermission) {
		problem = fmt.Errorf("it takes root, or CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE: %w", problem)
	}
	a.note(fmt.Sprintf("containers get no credentials, since nothing can listen on %v for them: %v", docker.LinkLocal, problem))
	l, err := net.Listen("tcp4", netip.AddrPortFrom(a.networks[0].Gateway(), 0).String())
	if err != nil {
		a.note(fmt.Sprintf("containers find no metadata: %v", err))
		return nil
	}
	return []net.Listener{l}
}

// apiForContainers is where containers reach the API: as others do, or, where it listens on this machine's loopback alone,
// on the same port of the first network's gateway, which the others reach too.
func (a *App) apiForContainers(api netip.AddrPort) netip.AddrPort {
	own := a.api.Addr().(*net.TCPAddr).AddrPort()
	at := netip.AddrPortFrom(a.networks[0].Gateway(), own.Port())
	switch {
	case own.Addr().IsUnspecified():
		return at
	case !own.Addr().Unmap().IsLoopback():
		return api
	}
	l, err := net.Listen("tcp4", at.String())
	if err != nil {
		a.note(fmt.Sprintf("containers do not reach the API at %v: %v", at, err))
		return at
	}
	a.moreAPI = append(a.moreAPI, l)
	a.cleanup(func() { l.Close() })
	return at
}

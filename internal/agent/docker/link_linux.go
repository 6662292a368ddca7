package docker

import (
	"errors"
	"net"
	"slices"

	"github.com/bakingclouds/rollcall/internal/agent/docker/network"
)

// Link listens on port 80 of [network.MetadataAddress] for the containers of a network.
func (r *Runtime) Link(n network.Network) (net.Listener, error) {
	l, err := network.ListenMetadata(network.BridgeName(r.owner, n))
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links = append(r.links, l)
	return l, nil
}

// renewLinks moves the metadata links to interfaces that have been replaced.
func (r *Runtime) renewLinks() {
	r.mu.Lock()
	links := slices.Clone(r.links)
	r.mu.Unlock()
	for _, l := range links {
		if err := l.Renew(); err != nil && !errors.Is(err, net.ErrClosed) {
			r.log.Warn("containers cannot reach the metadata endpoint", "err", err)
		}
	}
}

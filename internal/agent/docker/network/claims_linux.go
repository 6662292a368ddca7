package network

import (
	"net/netip"
	"sync"

	"github.com/bakingclouds/rollcall/internal/agent/addrlease"
)

// Claims are the slices that one server has claimed. A claim keeps every other Rollcall of this machine from choosing
// the same slice before its network exists in the engine, where [InUse] finds it. The zero value has no claims.
type Claims struct {
	mu     sync.Mutex
	leases map[netip.Prefix]addrlease.Lease
}

// Claim chooses the first slice that overlaps no used network and that no other server has claimed. A slice that this
// server has claimed before can be chosen again. The error names a network that is in the way.
func (c *Claims) Claim(slicesOfVPC []Network, used []Used) (Network, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return choose(slicesOfVPC, used, func(n Network) bool {
		if _, claimed := c.leases[n.Prefix]; claimed {
			return true
		}
		lease, err := addrlease.Acquire("network/" + n.Prefix.String())
		if err != nil {
			return false
		}
		if c.leases == nil {
			c.leases = map[netip.Prefix]addrlease.Lease{}
		}
		c.leases[n.Prefix] = lease
		return true
	})
}

// Close gives up all claims.
func (c *Claims) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, lease := range c.leases {
		lease.Release()
	}
	c.leases = nil
}

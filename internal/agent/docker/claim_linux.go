package docker

import (
	"sync"

	"github.com/bakingclouds/rollcall/internal/agent/lease"
)

// claims are the slices that this process has, which no other Rollcall of this machine may take while it starts: a network
// shows only once it is made.
var claims = struct {
	sync.Mutex
	held map[string]bool
}{held: map[string]bool{}}

// Claim picks the first slice that overlaps nothing that is taken, for as long as this process lives. The error names what
// is in the way.
func Claim(slicesOfVPC []Network, taken []Taken) (Network, error) {
	claims.Lock()
	defer claims.Unlock()
	return choose(slicesOfVPC, taken, func(n Network) bool {
		name := "network/" + n.Prefix.String()
		if claims.held[name] {
			return true
		}
		_, err := lease.Take(name)
		claims.held[name] = err == nil
		return err == nil
	})
}

package docker

import (
	"sync"

	"github.com/bakingclouds/rollcall/internal/agent/addrlease"
)

// claims are the slices that this process has, by the data folders that they are for. No other Rollcall of this machine may
// take one while it starts: a network shows only once it is made.
var claims = struct {
	sync.Mutex
	held map[string]string
}{held: map[string]string{}}

// Claim picks the first slice that overlaps nothing that is taken, for a data folder and as long as this process lives. The
// error names what is in the way.
func Claim(dir string, slicesOfVPC []Network, taken []Taken) (Network, error) {
	claims.Lock()
	defer claims.Unlock()
	return choose(slicesOfVPC, taken, func(n Network) bool {
		name := "network/" + n.Prefix.String()
		if by, held := claims.held[name]; held {
			return by == dir
		}
		if _, err := addrlease.Take(name); err != nil {
			return false
		}
		claims.held[name] = dir
		return true
	})
}

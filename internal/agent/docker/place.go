package docker

import (
	"net/netip"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// place is what a container is given of the machine: what this package has reserved for it and its task.
type place struct {
	Name   string            // of the engine's container
	Image  string            // what the engine makes it from: an image's id or reference
	Labels map[string]string // that it is ours, and whose; they win over all others

	// Share is the container whose network this one uses; it has none of its own then. Else Network is the engine's name of
	// its network: a VPC's, "host" or "none".
	Share   string
	Pause   string // the task's pause container; empty where it has none
	CPUs    int    // of the machine
	Network string
	// Address and Address6 are its own on Network; invalid: none.
	Address, Address6 netip.Addr
	Ports             []agent.PortBinding // of the host, published

	// ResolvConf is a file to mount over the one in /etc; empty leaves the engine's.
	ResolvConf string

	// Siblings are the engine's names of the task's containers, by the name in the definition, and Addresses their own
	// addresses on Network, for those who link to them.
	Siblings  map[string]string
	Addresses map[string][]netip.Addr
	Volumes   map[string]string // a volume's name in the definition: what the engine mounts, its name or the host's path
	Env       map[string]string // wins over the container's
}

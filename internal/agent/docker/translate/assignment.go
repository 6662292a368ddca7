package translate

import (
	"net/netip"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// Assignment contains what a container receives besides its definition: the names, addresses, ports and files that the
// runtime has reserved for the container and its task.
type Assignment struct {
	Name   string            // of the container in the engine
	Image  string            // id or reference of the image
	Labels map[string]string // override the labels of the definition

	// Share is the id of the container whose network this one joins. If it is empty, Network is the engine's name of
	// the network that the container gets: a VPC's network, "host" or "none".
	Share   string
	Network string
	Pause   string // id of the task's pause container; empty if it has none
	CPUs    int    // number of CPUs of the machine

	Address, Address6 netip.Addr          // on Network; invalid if the container has none
	Ports             []agent.PortBinding // published on the host

	// ResolvConf is the file that is mounted as /etc/resolv.conf. If it is empty, the engine writes its own.
	ResolvConf string

	// Siblings maps the names of the task's containers to the engine's names, and Addresses to their addresses on
	// Network, for volumes-from and links.
	Siblings  map[string]string
	Addresses map[string][]netip.Addr
	Volumes   map[string]string // by name in the definition; see VolumeSource
	Env       map[string]string // overrides the environment of the definition
}

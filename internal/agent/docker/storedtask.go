package docker

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker/network"
)

// storedTask is the contents of a task file. It is written before the engine is asked to create anything, so that
// everything in the engine that belongs to the task can be found. Later versions must be able to read its JSON.
type storedTask struct {
	Spec     agent.TaskSpec
	Network  network.Network // of the task's VPC
	Address  netip.Addr      `json:",omitzero"` // the task's own in mode awsvpc, the host's in modes bridge and host
	Address6 netip.Addr      `json:",omitzero"`
	Pause    *storedContainer
	// Containers are in the order of the spec.
	Containers []*storedContainer
}

// storedContainer is the part of a task file for one container.
type storedContainer struct {
	Address  netip.Addr          `json:",omitzero"` // invalid if the container shares another one's network
	Address6 netip.Addr          `json:",omitzero"`
	Ports    []agent.PortBinding `json:",omitempty"`
	Engine   string              `json:",omitempty"` // the engine's id, once the container is created
	Image    string              `json:",omitempty"` // id of the image
	Digest   string              `json:",omitempty"` // digest of the image
	End      *decidedEnd         `json:",omitempty"` // set if the container must not run (again)
}

// decidedEnd is an end that the runtime has decided, whatever the engine reports.
type decidedEnd struct {
	At     time.Time
	Reason string `json:",omitempty"`
}

// leaseNames returns the names of the leases that the task holds.
func (s *storedTask) leaseNames() []string {
	var names []string
	addAddress := func(a netip.Addr) {
		if a.IsValid() {
			names = append(names, "address/"+a.String())
		}
	}
	if s.Pause != nil {
		addAddress(s.Pause.Address)
	}
	for _, c := range s.Containers {
		addAddress(c.Address)
		if s.Spec.NetworkMode == agent.NetworkAWSVPC {
			continue // the ports are on the task's own address
		}
		for _, p := range c.Ports {
			names = append(names, "port/"+p.Protocol+"/"+strconv.Itoa(int(p.Host)))
		}
	}
	return names
}

// status adds what the task file contains to the status that the engine reports.
func (c *storedContainer) status(name string, seen agent.ContainerStatus) agent.ContainerStatus {
	seen.Name, seen.Image, seen.Ports = name, c.Digest, c.Ports
	if c.End != nil && !seen.Ended() {
		seen.FinishedAt, seen.Reason = c.End.At, c.End.Reason
	}
	return seen
}

package docker

import (
	"net/netip"
	"path/filepath"
	"strconv"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker/network"
)

// record is what is kept of a task on disk. It is written before the engine is asked for anything, so that whatever the
// engine has of the task can be found by it.
type record struct {
	Spec     agent.TaskSpec
	Network  network.Network // of its VPC
	Address  netip.Addr      `json:",omitzero"` // awsvpc: its own; bridge and host: the host's
	Address6 netip.Addr      `json:",omitzero"`
	Pause    *containerRecord
	// Containers are in the order of the spec.
	Containers []*containerRecord
}

// containerRecord is what is kept of a container.
type containerRecord struct {
	Address  netip.Addr          `json:",omitzero"` // its own on the network; invalid where it shares another's
	Address6 netip.Addr          `json:",omitzero"`
	Ports    []agent.PortBinding `json:",omitempty"`
	Engine   string              `json:",omitempty"` // the engine's id, once it is made
	Image    string              `json:",omitempty"` // what it is made from
	Digest   string              `json:",omitempty"` // of its image
	End      *ending             `json:",omitempty"` // that it shall never run (again): decided here
}

// ending is an end that was decided here.
type ending struct {
	At     time.Time
	Reason string `json:",omitempty"`
}

func taskFolder(dir, taskID string) string { return filepath.Join(tasksFolder(dir), taskID) }
func recordFile(dir, taskID string) string {
	return filepath.Join(taskFolder(dir, taskID), "task.json")
}

// leaseNames are the leases of what a task holds.
func (r *record) leaseNames() []string {
	var names []string
	address := func(a netip.Addr) {
		if a.IsValid() {
			names = append(names, "address/"+a.String())
		}
	}
	if r.Pause != nil {
		address(r.Pause.Address)
	}
	for _, c := range r.Containers {
		address(c.Address)
		if r.Spec.NetworkMode == agent.NetworkAWSVPC {
			continue
		}
		for _, p := range c.Ports {
			names = append(names, "port/"+p.Protocol+"/"+strconv.Itoa(int(p.Host)))
		}
	}
	return names
}

// status adds what the record knows to the status that the engine reports.
func (c *containerRecord) status(name string, seen agent.ContainerStatus) agent.ContainerStatus {
	seen.Name, seen.Image, seen.Ports = name, c.Digest, c.Ports
	if c.End != nil && !seen.Ended() {
		seen.FinishedAt, seen.Reason = c.End.At, c.End.Reason
	}
	return seen
}

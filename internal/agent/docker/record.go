package docker

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/engineopts"
)

// record is what is kept of a task on disk. It is written before the engine is asked for anything, so that whatever the
// engine has of the task can be found by it.
type record struct {
	Spec     agent.TaskSpec
	Network  Network    // of its VPC
	Address  netip.Addr `json:",omitzero"` // awsvpc: its own; bridge and host: the host's
	Address6 netip.Addr `json:",omitzero"`
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

// paused says that a container of its own holds the task's namespaces: where several containers share one.
func paused(spec *agent.TaskSpec) bool {
	shared := spec.NetworkMode == agent.NetworkAWSVPC || spec.Options.PID == engineopts.Shared || spec.Options.IPC == engineopts.Shared
	// An address must be somewhere, also when the only container has no network.
	return shared && (len(spec.Containers) > 1 || spec.NetworkMode == agent.NetworkAWSVPC && spec.Containers[0].Options.DisableNetworking)
}

// containerName is the engine's name of a task's container, as ECS's agent makes them, but always the same of one task
// (Amazon ECS Developer Guide, "Task definition parameters": the name is shown by docker ps). An empty container is the
// pause container.
func containerName(spec *agent.TaskSpec, container string) string {
	family, revision := spec.Labels[labelFamily], spec.Labels[labelRevision]
	if container == "" {
		container = "pause"
	}
	return fmt.Sprintf("ecs-%.60s-%s-%.60s-%.20s", family, revision, container, spec.ID)
}

// The labels of ECS's agent that a name is made of.
const (
	labelFamily   = "com.amazonaws.ecs.task-definition-family"
	labelRevision = "com.amazonaws.ecs.task-definition-version"
)

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

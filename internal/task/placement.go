package task

import (
	"slices"
	"time"

	"github.com/bakingclouds/rollcall/internal/store"
)

var placements = store.NewTable[Placements]("placement", "task/placements/") // node

// The types of placement constraints and strategies, as ECS spells them.
const (
	DistinctInstance = "distinctInstance"
	MemberOf         = "memberOf"

	Spread  = "spread"
	Binpack = "binpack"
	Random  = "random"
)

// PlacementConstraint limits the nodes that a task may be placed on.
type PlacementConstraint struct {
	Type       string
	Expression string `json:",omitempty"` // of memberOf, in the cluster query language
}

// PlacementStrategy prefers some of the nodes that a task may be placed on.
type PlacementStrategy struct {
	Type  string
	Field string `json:",omitempty"` // instanceId, host, attribute:NAME; cpu, memory
}

// Resources are what a task takes of a node from its placement until it has stopped.
type Resources struct {
	CPU    int    `json:",omitempty"` // in units, 1024 a core
	Memory int    `json:",omitempty"` // in MiB
	Ports  []Port `json:",omitempty"` // of the host, those that the definition names
}

// Port is a port of a host.
type Port struct {
	Number   int
	Protocol string
}

// Resources are what a task of the definition takes: what the task states, or else the sum of what its containers
// state (ECS Developer Guide, "Task size"). What nobody states is nothing.
func (d *Definition) Resources() Resources {
	var r Resources
	for _, c := range d.Containers {
		r.CPU += c.CPU
		if c.MemoryReservation > 0 {
			r.Memory += c.MemoryReservation
		} else {
			r.Memory += c.Memory
		}
		for _, p := range c.Ports {
			port := Port{p.HostPort, p.Protocol}
			if port.Protocol == "" {
				port.Protocol = "tcp"
			}
			if p.HostPort > 0 && d.NetworkMode != "awsvpc" && d.NetworkMode != "none" && !slices.Contains(r.Ports, port) {
				r.Ports = append(r.Ports, port)
			}
		}
	}
	if d.CPU > 0 {
		r.CPU = d.CPU
	}
	if d.Memory > 0 {
		r.Memory = d.Memory
	}
	return r
}

// HostPorts are the ports of its node that a task holds: those it was placed for, and those that its node chose.
func (t *Task) HostPorts() []Port {
	var ports []Port
	if t.Reserved != nil {
		ports = slices.Clone(t.Reserved.Ports)
	}
	if t.Network != nil {
		return ports // its bindings are of its own address
	}
	for _, c := range t.Observed.Containers {
		for _, b := range c.Bindings {
			if p := (Port{b.HostPort, b.Protocol}); !slices.Contains(ports, p) {
				ports = append(ports, p)
			}
		}
	}
	return ports
}

// Placements counts the tasks that were ever placed on a node. Whoever places one writes it, so that two who place on
// what the same node has left never both win.
type Placements struct{ Count int64 }

// AssignNode gives a task its node, and the node's resources to the task.
func AssignNode(tx *store.Tx, t *Task, node string, r Resources) {
	p, ok := placements.Find(tx, node)
	if !ok {
		p = &Placements{}
	}
	placements.Put(tx, node, &Placements{p.Count + 1})
	t.Node, t.Reserved = node, &r
}

// Unplaced says of a service that tasks of it wait for a node, and when its history has last said why, by cause.
type Unplaced struct {
	ReportedAt map[string]time.Time `json:"Said"` // by cause
}

// UnplacedServices are the services of which that is said.
func UnplacedServices(r store.Reader) []*Service {
	var ss []*Service
	servicesUnplaced.Scan(r, "waits", func(_ string, s *Service) bool { ss = append(ss, s); return true })
	return ss
}

// PlacementQueue is the queue of the transactions that place tasks: this process runs them one at a time (store.UpdateSerialized).
const PlacementQueue = "placement"

// UnplacedTasks are the tasks that wait for a node, the oldest first.
func UnplacedTasks(r store.Reader) []*Task {
	var ts []*Task
	tasksUnplaced.Scan(r, "waits", func(_ string, t *Task) bool { ts = append(ts, t); return true })
	slices.SortStableFunc(ts, func(a, b *Task) int { return a.Created.Compare(b.Created) })
	return ts
}

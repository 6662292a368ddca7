package task

import (
	"slices"
	"time"

	"github.com/bakingclouds/rollcall/internal/store"
)

var placements = store.NewTable[Placements]("placement", "task/placements/") // node

// The types of placement constraints and placement strategies, as ECS spells them.
const (
	DistinctInstance = "distinctInstance"
	MemberOf         = "memberOf"

	Spread  = "spread"
	Binpack = "binpack"
	Random  = "random"
)

// PlacementConstraint limits the nodes on which a task may be placed.
type PlacementConstraint struct {
	Type       string
	Expression string `json:",omitempty"` // of memberOf, in the cluster query language
}

// PlacementStrategy orders the nodes on which a task may be placed.
type PlacementStrategy struct {
	Type  string
	Field string `json:",omitempty"` // instanceId, host or attribute:NAME for spread; cpu or memory for binpack
}

// Resources are resources of a node that a task holds from its placement until it has stopped.
type Resources struct {
	CPU    int    `json:",omitempty"` // in units, 1024 per core
	Memory int    `json:",omitempty"` // in MiB
	Ports  []Port `json:",omitempty"` // ports of the host that the definition names
}

// Port is a port of a host.
type Port struct {
	Number   int
	Protocol string
}

// Resources returns the resources that a task of the definition needs: the limits of the whole task or, where it has
// none, the sums over its containers (ECS Developer Guide, "Task size").
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

// HostPorts returns the ports of its node that the task holds: those that its definition names and those that the node
// chose.
func (t *Task) HostPorts() []Port {
	var ports []Port
	if t.Reserved != nil {
		ports = slices.Clone(t.Reserved.Ports)
	}
	if t.Network != nil {
		return ports // its bindings belong to the task's address
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

// Placements is the number of tasks that were ever placed on a node. Every transaction that places a task on the node
// writes it, so of two concurrent transactions that use the node's remaining resources only one commits.
type Placements struct{ Count int64 }

// AssignNode sets the node and the resources of t, which the caller writes.
func AssignNode(tx *store.Tx, t *Task, node string, r Resources) {
	p, ok := placements.Find(tx, node)
	if !ok {
		p = &Placements{}
	}
	placements.Put(tx, node, &Placements{p.Count + 1})
	t.Node, t.Reserved = node, &r
}

// Unplaced marks a service whose tasks wait for a node. It holds the times of the last events about it.
type Unplaced struct {
	ReportedAt map[string]time.Time `json:"Said"` // by cause
}

// UnplacedServices returns the services that are marked with [Unplaced].
func UnplacedServices(r store.Reader) []*Service {
	var ss []*Service
	servicesUnplaced.Scan(r, "waits", func(_ string, s *Service) bool { ss = append(ss, s); return true })
	return ss
}

// PlacementQueue is the queue of the transactions that place tasks: this process runs them one at a time
// (store.UpdateSerialized).
const PlacementQueue = "placement"

// UnplacedTasks returns the tasks that wait for a node, oldest first.
func UnplacedTasks(r store.Reader) []*Task {
	var ts []*Task
	tasksUnplaced.Scan(r, "waits", func(_ string, t *Task) bool { ts = append(ts, t); return true })
	slices.SortStableFunc(ts, func(a, b *Task) int { return a.Created.Compare(b.Created) })
	return ts
}

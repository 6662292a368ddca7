package placement

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/bakingclouds/rollcall/internal/clusterquery"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// Inventory holds the nodes of one snapshot with the resources that their tasks use. It is not safe for concurrent use.
type Inventory struct {
	s     *store.Snapshot
	nodes []*task.Node
	usage map[string]*usage  // by node
	hosts map[string][]*Host // by cluster key
}

// ReadInventory reads the inventory of a snapshot. Its cost is proportional to the number of placed tasks.
func ReadInventory(s *store.Snapshot) *Inventory {
	inv := &Inventory{s: s, nodes: task.Nodes(s), usage: map[string]*usage{}, hosts: map[string][]*Host{}}
	for _, n := range inv.nodes {
		u := newUsage()
		for _, t := range task.TasksOn(s, n.Name) {
			u.add(t)
		}
		inv.usage[n.Name] = u
	}
	return inv
}

// Hosts returns the container instances of a cluster, ordered by the names of their nodes.
func (inv *Inventory) Hosts(cluster task.ClusterRef) []*Host {
	hosts, ok := inv.hosts[cluster.Key()]
	if !ok {
		for _, n := range inv.nodes {
			hosts = append(hosts, &Host{
				Node: n, Instance: task.FindInstance(inv.s, cluster, n.Name), Live: task.Live(inv.s, n.Name),
				usage: inv.usage[n.Name],
			})
		}
		inv.hosts[cluster.Key()] = hosts
	}
	return hosts
}

// Host returns the container instance of a cluster with the given id.
func (inv *Inventory) Host(cluster task.ClusterRef, id string) (*Host, bool) {
	for _, h := range inv.Hosts(cluster) {
		if h.Instance.ID() == id {
			return h, true
		}
	}
	return nil, false
}

// Assign assigns a task to a host, in the transaction whose snapshot the inventory was read from, and adds the task's
// resources to the host's. The transaction fails at commit if the node is no longer live, its container instance has
// changed, or another task was placed on it. The caller writes the task's row.
func (inv *Inventory) Assign(tx *store.Tx, t *task.Task, h *Host, r task.Resources) {
	task.Live(tx, h.Node.Name)
	task.FindInstance(tx, t.ClusterRef(), h.Node.Name)
	task.AssignNode(tx, t, h.Node.Name, r)
	inv.usage[h.Node.Name].add(t)
}

// Host is a node as a container instance of one cluster.
type Host struct {
	Node     *task.Node
	Instance *task.ContainerInstance
	Live     bool
	usage    *usage
}

// usage holds what the tasks of all clusters use of a node.
type usage struct {
	cpu, memory int
	ports       map[task.Port]int
	tasks       int
	groups      map[string]int       // number of tasks that are to run, by cluster key and group
	clusters    map[string]TaskCount // by cluster key
}

func newUsage() *usage {
	return &usage{ports: map[task.Port]int{}, groups: map[string]int{}, clusters: map[string]TaskCount{}}
}

// TaskCount counts the tasks of a cluster on a host as DescribeContainerInstances does.
type TaskCount struct{ Running, Pending int }

// groupKey returns the key of a group of tasks in usage.
func groupKey(clusterKey, group string) string { return clusterKey + "\x00" + group }

// add adds a task unless it has stopped.
func (u *usage) add(t *task.Task) {
	if t.Observed.State == task.Stopped {
		return
	}
	if t.Reserved != nil {
		u.cpu += t.Reserved.CPU
		u.memory += t.Reserved.Memory
	}
	for _, p := range t.HostPorts() {
		u.ports[p]++
	}
	u.tasks++
	cluster := t.ClusterRef().Key()
	n := u.clusters[cluster]
	if t.Observed.State < task.Running {
		n.Pending++
	} else if t.Observed.State < task.Deprovisioning {
		n.Running++
	}
	u.clusters[cluster] = n
	// A task that is to stop still uses its resources, but it counts neither for distinctInstance nor for spread (ECS
	// Developer Guide, "Example task placement constraints").
	if t.Desired != task.DesiredStopped {
		u.groups[groupKey(cluster, t.Group())]++
	}
}

// FreeCPU returns the CPU units that are free, math.MaxInt if the node has no limit.
func (h *Host) FreeCPU() int { return free(h.Node.CPU, h.usage.cpu) }

// FreeMemory returns the memory in MiB that is free, math.MaxInt if the node has no limit.
func (h *Host) FreeMemory() int { return free(h.Node.Memory, h.usage.memory) }

func free(limit, used int) int {
	if limit == 0 {
		return math.MaxInt
	}
	return limit - used
}

// UsedPorts returns the host ports that tasks use, ordered by number.
func (h *Host) UsedPorts() []task.Port {
	return slices.SortedFunc(maps.Keys(h.usage.ports), func(a, b task.Port) int {
		return cmp.Compare(a.Number, b.Number)
	})
}

func (h *Host) clusterKey() string { return h.Instance.ClusterRef().Key() }

// TaskCount returns the number of the cluster's tasks on the host.
func (h *Host) TaskCount() TaskCount { return h.usage.clusters[h.clusterKey()] }

// groupCount returns the number of tasks of a group on the host that are to run.
func (h *Host) groupCount(group string) int { return h.usage.groups[groupKey(h.clusterKey(), group)] }

// Attributes returns the attributes of the node and those that clients have added to the container instance.
func (h *Host) Attributes() map[string]string {
	a := h.Node.Attributes(h.Instance.Region)
	maps.Copy(a, h.Instance.Attributes)
	return a
}

// QueryInstance returns the host as the cluster query language sees it.
func (h *Host) QueryInstance() clusterquery.Instance {
	in := clusterquery.Instance{
		Attributes: h.Attributes(), EC2InstanceID: h.Instance.EC2InstanceID(), AgentConnected: h.Live,
		AgentVersion: h.Node.Version, RegisteredAt: h.Node.RegisteredAt(), RunningTasks: h.TaskCount().Running,
	}
	prefix := groupKey(h.clusterKey(), "")
	for key := range h.usage.groups {
		if len(key) > len(prefix) && key[:len(prefix)] == prefix {
			in.Groups = append(in.Groups, key[len(prefix):])
		}
	}
	return in
}

// AcceptsTasks reports whether new tasks may be placed on the host: its container instance is ACTIVE and its node has a
// runtime.
func (h *Host) AcceptsTasks() bool {
	return h.Instance.Status == task.Active && h.Node.Runtime != task.NoRuntime
}

// Eligible reports whether a task with these constraints may run on the host, regardless of the free resources. It
// decides on which nodes a DAEMON service runs a task.
func (h *Host) Eligible(cs Constraints) bool { return h.AcceptsTasks() && h.Live && cs.allow(h) }

package placement

import (
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// Inventory is the nodes of one state with what their tasks take. It is for one goroutine.
type Inventory struct {
	s        *store.Snapshot
	nodes    []*task.Node
	loads    map[string]*load   // by node
	clusters map[string][]*Host // by cluster
}

// Read makes the fleet of a state. Its cost is in proportion to the tasks that are placed.
func ReadInventory(s *store.Snapshot) *Inventory {
	f := &Inventory{s: s, nodes: task.Nodes(s), loads: map[string]*load{}, clusters: map[string][]*Host{}}
	for _, n := range f.nodes {
		l := &load{ports: map[task.Port]int{}, groups: map[string]int{}, clusters: map[string]Count{}}
		for _, t := range task.TasksOn(s, n.Name) {
			l.add(t)
		}
		f.loads[n.Name] = l
	}
	return f
}

// Hosts are the container instances of a cluster, by the names of their nodes.
func (f *Inventory) Hosts(sc arn.Scope, cluster string) []*Host {
	key := clusterKey(sc, cluster)
	hosts, ok := f.clusters[key]
	if !ok {
		for _, n := range f.nodes {
			hosts = append(hosts, &Host{
				Node: n, Instance: task.FindInstance(f.s, task.ClusterRef{Scope: sc, Name: cluster}, n.Name), Live: task.Live(f.s, n.Name), load: f.loads[n.Name],
			})
		}
		f.clusters[key] = hosts
	}
	return hosts
}

// Host finds a container instance of a cluster by its id.
func (f *Inventory) Host(sc arn.Scope, cluster, id string) (*Host, bool) {
	for _, h := range f.Hosts(sc, cluster) {
		if h.Instance.ID() == id {
			return h, true
		}
	}
	return nil, false
}

// RejectionReason says why a task cannot start on this host, for a client that names the host: constraints do not count then.
// It is empty when nothing stands against it.
func RejectionReason(h *Host, r task.Resources) string {
	w := Requirements{Resources: r}
	reasons := w.refuse(h)
	switch {
	case h.Instance.Status != task.Active:
		return h.Instance.Status // INACTIVE is ECS's own; of DRAINING its guide does not tell
	case h.Node.Runtime == task.NoRuntime:
		return Disconnected
	case len(reasons) > 0:
		return reasons[0]
	}
	return ""
}

// Assign gives a task its node in the transaction that the fleet was read in, and takes what it needs from the host.
// Of what the choice rests on, it compares the node's being there and open for tasks, and that nobody else placed a
// task there meanwhile. The caller writes the task's row.
func (f *Inventory) Assign(tx *store.Tx, t *task.Task, h *Host, r task.Resources) {
	task.Live(tx, h.Node.Name)
	task.FindInstance(tx, t.ClusterRef(), h.Node.Name)
	task.Place(tx, t, h.Node.Name, r)
	f.loads[h.Node.Name].add(t)
}

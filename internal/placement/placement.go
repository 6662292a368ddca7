// Package placement decides which node a task runs on (ECS Developer Guide, "How Amazon ECS places tasks on container
// instances").
//
// [ReadInventory] makes a [Inventory] of one state: each node with what its tasks leave of it. [Pick] is a pure function from a
// [Requirements] and the hosts of a cluster to a host, or to the reasons why none will do; [Inventory.Assign] writes the choice.
// Constraints and resources bind, strategies prefer. [Host.Eligible] answers for one node whether a task may be there
// at all, which a service with a task on each node asks.
//
// placement knows nodes, tasks and what they need. It starts nothing, and does not know why a task is wanted.
package placement

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/clusterquery"
	"github.com/bakingclouds/rollcall/internal/task"
)

// Why a host does not do, as ECS spells it in failures and events (ECS Developer Guide, "API failure reasons").
const (
	LacksCPU     = "RESOURCE:CPU"
	LacksMemory  = "RESOURCE:MEMORY"
	LacksPorts   = "RESOURCE:PORTS"
	Disconnected = "AGENT"
	NotMember    = "MemberOf placement constraint unsatisfied."
	NotDistinct  = "DistinctInstance placement constraint unsatisfied."
)

// Host is a node as a container instance of one cluster.
type Host struct {
	Node     *task.Node
	Instance *task.ContainerInstance
	Live     bool
	load     *load
}

// load is what tasks take of a node. Tasks of every cluster take of it.
type load struct {
	cpu, memory int
	ports       map[task.Port]int
	tasks       int
	groups      map[string]int   // of wanted tasks; by cluster and group
	clusters    map[string]Count // by cluster
}

// Count counts a cluster's tasks on a host as DescribeContainerInstances does.
type Count struct{ Running, Pending int }

// clusterKey tells the groups of two clusters apart.
func clusterKey(sc arn.Scope, cluster string) string { return sc.Region + "/" + cluster }

func (l *load) add(t *task.Task) {
	if t.Observed.State == task.Stopped {
		return
	}
	if t.Reserved != nil {
		l.cpu += t.Reserved.CPU
		l.memory += t.Reserved.Memory
	}
	for _, p := range t.HostPorts() {
		l.ports[p]++
	}
	l.tasks++
	key := clusterKey(t.Scope(), t.Cluster)
	n := l.clusters[key]
	if t.Observed.State < task.Running {
		n.Pending++
	} else if t.Observed.State < task.Deprovisioning {
		n.Running++
	}
	l.clusters[key] = n
	// A task that is to stop does not count for distinctInstance, nor for spreading, although it still holds its
	// resources (ECS Developer Guide, "Example task placement constraints").
	if t.Desired != task.DesiredStopped {
		l.groups[key+"\x00"+t.Group()]++
	}
}

// FreeCPU and FreeMemory are what is left.
func (h *Host) FreeCPU() int    { return free(h.Node.CPU, h.load.cpu) }
func (h *Host) FreeMemory() int { return free(h.Node.Memory, h.load.memory) }

func free(all, used int) int {
	if all == 0 {
		return math.MaxInt // as much as it likes
	}
	return all - used
}

// UsedPorts are the host ports that tasks hold, by number.
func (h *Host) UsedPorts() []task.Port {
	return slices.SortedFunc(maps.Keys(h.load.ports), func(a, b task.Port) int { return cmp.Compare(a.Number, b.Number) })
}

func (h *Host) key() string { return h.Instance.Region + "/" + h.Instance.Cluster }

// Count counts the cluster's tasks on the host.
func (h *Host) Count() Count { return h.load.clusters[h.key()] }

// group counts the wanted tasks of a group.
func (h *Host) group(name string) int { return h.load.groups[h.key()+"\x00"+name] }

// Attributes are the node's and those that clients gave the container instance.
func (h *Host) Attributes() map[string]string {
	a := h.Node.Attributes(h.Instance.Region)
	maps.Copy(a, h.Instance.Attributes)
	return a
}

// QueryInstance are what the cluster query language asks about.
func (h *Host) QueryInstance() clusterquery.Instance {
	in := clusterquery.Instance{
		Attributes: h.Attributes(), EC2InstanceID: h.Instance.EC2InstanceID(), AgentConnected: h.Live,
		AgentVersion: h.Node.Version, RegisteredAt: h.Node.RegisteredAt(), RunningTasks: h.Count().Running,
	}
	prefix := h.key() + "\x00"
	for key := range h.load.groups {
		if len(key) > len(prefix) && key[:len(prefix)] == prefix {
			in.Groups = append(in.Groups, key[len(prefix):])
		}
	}
	return in
}

// AcceptsTasks reports whether the host is one that tasks may be given to: new ones are placed on it, and there is something
// to run them.
func (h *Host) AcceptsTasks() bool {
	return h.Instance.Status == task.Active && h.Node.Runtime != task.NoRuntime
}

// Constraints are placement constraints, ready to be asked.
type Constraints struct {
	Distinct bool
	Members  []*clusterquery.Expression
}

// ParseConstraints reads the constraints of a definition and of what runs it.
func ParseConstraints(lists ...[]task.PlacementConstraint) (Constraints, error) {
	var cs Constraints
	for _, c := range slices.Concat(lists...) {
		if c.Type == task.DistinctInstance {
			cs.Distinct = true
			continue
		}
		e, err := clusterquery.Parse(c.Expression)
		if err != nil {
			return cs, err
		}
		cs.Members = append(cs.Members, e)
	}
	return cs, nil
}

// allow reports whether the host satisfies the memberOf constraints.
func (cs Constraints) allow(h *Host) bool {
	if len(cs.Members) == 0 {
		return true
	}
	facts := h.QueryInstance()
	return !slices.ContainsFunc(cs.Members, func(e *clusterquery.Expression) bool { return !e.Match(facts) })
}

// Eligible reports whether a task with these constraints may be on the host, whatever room is left there: what a
// DAEMON service asks of each node.
func (h *Host) Eligible(cs Constraints) bool { return h.AcceptsTasks() && h.Live && cs.allow(h) }

// Requirements is what a task asks of a host.
type Requirements struct {
	Group       string // that distinctInstance and spread count
	Service     bool   // a service's task: spread evenly when no strategy is given
	Resources   task.Resources
	Constraints Constraints
	Strategy    []task.PlacementStrategy
	OnlyNode    string // "" is any
}

// Rejection is a host that does not do, with all that stands against it, in ECS's order; never none.
type Rejection struct {
	Host    *Host
	Reasons []string
}

// refuse lists what stands against a host.
func (w *Requirements) refuse(h *Host) []string {
	var reasons []string
	against := func(reason string, stands bool) {
		if stands {
			reasons = append(reasons, reason)
		}
	}
	against(Disconnected, !h.Live)
	against(LacksCPU, w.Resources.CPU > h.FreeCPU())
	against(LacksMemory, w.Resources.Memory > h.FreeMemory())
	against(LacksPorts, slices.ContainsFunc(w.Resources.Ports, func(p task.Port) bool { return h.load.ports[p] > 0 }))
	against(NotMember, !w.Constraints.allow(h))
	against(NotDistinct, w.Constraints.Distinct && h.group(w.Group) > 0)
	return reasons
}

// Pick chooses among the hosts of a cluster. Without one that will do it returns why not, for each open host; no
// rejections mean that the cluster has no open host. random is asked for a number below n.
func Pick(hosts []*Host, w Requirements, random func(n int) int) (*Host, []Rejection) {
	var fit []*Host
	var rejections []Rejection
	open := slices.DeleteFunc(slices.Clone(hosts), func(h *Host) bool {
		return !h.AcceptsTasks() || w.OnlyNode != "" && h.Node.Name != w.OnlyNode
	})
	for _, h := range open {
		if reasons := w.refuse(h); len(reasons) > 0 {
			rejections = append(rejections, Rejection{h, reasons})
		} else {
			fit = append(fit, h)
		}
	}
	if len(fit) == 0 {
		return nil, rejections
	}
	return prefer(fit, open, w, random), nil
}

// Closest is the refusal of the host that would need the least to do: it is there, the fewest reasons stand against it,
// and of equals it has the most memory left.
func Closest(rejections []Rejection) Rejection {
	away := func(r Rejection) int { return slices.Index(r.Reasons, Disconnected) } // 0 if so: it is the first reason
	return slices.MinFunc(rejections, func(a, b Rejection) int {
		return cmp.Or(cmp.Compare(away(a), away(b)), cmp.Compare(len(a.Reasons), len(b.Reasons)), cmp.Compare(b.Host.FreeMemory(), a.Host.FreeMemory()),
			cmp.Compare(a.Host.Node.Name, b.Host.Node.Name))
	})
}

// Package placement decides which node a task runs on (ECS Developer Guide, "How Amazon ECS places tasks on container
// instances").
//
// [ReadInventory] reads the nodes of a snapshot with their free resources. [Pick] is a pure function: from the
// [Requirements] of a task and the hosts of a cluster it picks a host, or returns why it rejected each of them.
// [Inventory.Assign] writes the choice. Constraints and resources decide which hosts fit, strategies which of these is
// best. [Host.Eligible] reports whether a DAEMON service runs a task on a node.
//
// placement knows nodes, tasks and their requirements. It does not start tasks and does not know why a task is wanted.
package placement

import (
	"cmp"
	"slices"

	"github.com/bakingclouds/rollcall/internal/clusterquery"
	"github.com/bakingclouds/rollcall/internal/task"
)

// The reasons for rejecting a host, as ECS spells them in failures and events (ECS Developer Guide, "API failure
// reasons").
const (
	LacksCPU     = "RESOURCE:CPU"
	LacksMemory  = "RESOURCE:MEMORY"
	LacksPorts   = "RESOURCE:PORTS"
	Disconnected = "AGENT"
	NotMember    = "MemberOf placement constraint unsatisfied."
	NotDistinct  = "DistinctInstance placement constraint unsatisfied."
)

// Constraints are parsed placement constraints.
type Constraints struct {
	Distinct bool
	Members  []*clusterquery.Expression
}

// ParseConstraints parses the constraints of a definition and of the service or call that runs it.
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
	in := h.QueryInstance()
	return !slices.ContainsFunc(cs.Members, func(e *clusterquery.Expression) bool { return !e.Match(in) })
}

// Requirements are the requirements of a task on its host.
type Requirements struct {
	Group       string // the group that distinctInstance and spread count
	Service     bool   // a service's task: spread evenly if there is no strategy
	Resources   task.Resources
	Constraints Constraints
	Strategy    []task.PlacementStrategy
	OnlyNode    string // the only node that is allowed; empty means any
}

// Rejection is a host that does not meet the requirements, with all reasons, in ECS's order. There is at least one.
type Rejection struct {
	Host    *Host
	Reasons []string
}

// unmet returns the reasons for which a host does not meet the requirements.
func (rq *Requirements) unmet(h *Host) []string {
	var reasons []string
	for _, check := range []struct {
		reason string
		unmet  bool
	}{
		{Disconnected, !h.Live},
		{LacksCPU, rq.Resources.CPU > h.FreeCPU()},
		{LacksMemory, rq.Resources.Memory > h.FreeMemory()},
		{LacksPorts, slices.ContainsFunc(rq.Resources.Ports, func(p task.Port) bool { return h.usage.ports[p] > 0 })},
		{NotMember, !rq.Constraints.allow(h)},
		{NotDistinct, rq.Constraints.Distinct && h.groupCount(rq.Group) > 0},
	} {
		if check.unmet {
			reasons = append(reasons, check.reason)
		}
	}
	return reasons
}

// Pick picks one of the hosts of a cluster. If none fits, it returns a rejection for each host that accepts tasks; no
// rejections mean that no host accepts tasks. random(n) returns a number from 0 to n-1.
func Pick(hosts []*Host, rq Requirements, random func(n int) int) (*Host, []Rejection) {
	var fit []*Host
	var rejections []Rejection
	candidates := slices.DeleteFunc(slices.Clone(hosts), func(h *Host) bool {
		return !h.AcceptsTasks() || rq.OnlyNode != "" && h.Node.Name != rq.OnlyNode
	})
	for _, h := range candidates {
		if reasons := rq.unmet(h); len(reasons) > 0 {
			rejections = append(rejections, Rejection{h, reasons})
		} else {
			fit = append(fit, h)
		}
	}
	if len(fit) == 0 {
		return nil, rejections
	}
	return best(fit, candidates, rq, random), nil
}

// RejectionReason returns the reason for which a task cannot start on a host that the client has chosen, empty if it
// can. Constraints do not apply to such a task.
func RejectionReason(h *Host, r task.Resources) string {
	rq := Requirements{Resources: r}
	reasons := rq.unmet(h)
	switch {
	case h.Instance.Status != task.Active:
		return h.Instance.Status // INACTIVE is ECS's reason; the guide has none for DRAINING
	case h.Node.Runtime == task.NoRuntime:
		return Disconnected
	case len(reasons) > 0:
		return reasons[0]
	}
	return ""
}

// Closest returns the rejection of the host that comes closest to the requirements: a live host before one that is
// disconnected, then the host with the fewest reasons, then the one with the most free memory.
func Closest(rejections []Rejection) Rejection {
	disconnected := func(r Rejection) int { return slices.Index(r.Reasons, Disconnected) } // 0 if so, otherwise -1
	return slices.MinFunc(rejections, func(a, b Rejection) int {
		return cmp.Or(
			cmp.Compare(disconnected(a), disconnected(b)), cmp.Compare(len(a.Reasons), len(b.Reasons)),
			cmp.Compare(b.Host.FreeMemory(), a.Host.FreeMemory()), cmp.Compare(a.Host.Node.Name, b.Host.Node.Name),
		)
	})
}

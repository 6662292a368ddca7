package rollout

import (
	"cmp"
	"maps"
	"slices"

	"github.com/bakingclouds/rollcall/internal/task"
)

// Nodes lists the nodes that a DAEMON service may have a task on, by name. True marks an eligible node: the service
// runs one task there. False marks a node that is unreachable: the plan starts nothing there and leaves its task
// running. A task on a node that is not listed is stopped.
type Nodes map[string]bool

// eligible returns the number of eligible nodes.
func (ns Nodes) eligible() (n int) {
	for _, eligible := range ns {
		if eligible {
			n++
		}
	}
	return n
}

// nodeOf returns the node that a daemon's task runs on or waits for.
func nodeOf(t *task.Task) string { return cmp.Or(t.Node, t.OnlyNode) }

// coverage tracks the nodes of a DAEMON service while it is planned.
type coverage struct {
	nodes    Nodes
	covered  map[string]bool // a task of the primary deployment runs or starts there
	occupied map[string]bool // some task of the service is there, even one that is to stop
}

// listed reports whether a task is on one of the service's nodes.
func (c *coverage) listed(t *task.Task) bool { _, ok := c.nodes[nodeOf(t)]; return ok }

func (c *coverage) occupy(t *task.Task) bool { c.occupied[nodeOf(t)] = true; return true }

// free returns the eligible nodes without a task, by name.
func (c *coverage) free() []string {
	var free []string
	for _, name := range slices.Sorted(maps.Keys(c.nodes)) {
		if c.nodes[name] && !c.occupied[name] {
			free = append(free, name)
		}
	}
	return free
}

// coverNodes brings a DAEMON service to one task on each eligible node. A node never has two tasks, so an old task is
// stopped first, as far as the minimum allows, and the new one starts when the old one has stopped.
func (p *planner) coverNodes(nodes Nodes) {
	c := &coverage{nodes: nodes, covered: map[string]bool{}, occupied: map[string]bool{}}
	p.keepOnePerNode(c)
	for _, t := range p.unhealthy {
		c.occupy(t)
		p.stop(t, ReasonUnhealthy)
	}
	p.primaryTasks.stopping.Scan(c.occupy)
	for _, older := range p.olderTasks {
		p.stopOlderOnNodes(c, older)
	}
	if p.primary.Rollout == task.Failed {
		return
	}
	if free := c.free(); len(free) > 0 {
		p.Start = p.startsAllowed(len(free))
		p.StartOn = free[:p.Start]
	}
}

// keepOnePerNode keeps the oldest task of the primary deployment on each listed node and stops its other tasks.
func (p *planner) keepOnePerNode(c *coverage) {
	isOlder := func(t *task.Task) bool { return !p.isPrimary(t) }
	inGracePeriod := slices.DeleteFunc(slices.Clone(p.inGracePeriod), isOlder)
	for _, t := range slices.Concat(p.primaryTasks.serving.Items(), p.primaryTasks.pending.Items(), inGracePeriod) {
		if !c.listed(t) || c.covered[nodeOf(t)] {
			p.stopUnlessProtected(t)
			continue
		}
		c.covered[nodeOf(t)] = true
		c.occupy(t)
	}
}

// stopOlderOnNodes stops the tasks of an older deployment. While the service has no more than the minimum of proven
// tasks, a serving task stays unless its node is covered or not listed. A failed rollout stops only tasks on nodes that
// are not listed.
func (p *planner) stopOlderOnNodes(c *coverage, older *deploymentTasks) {
	failed := p.primary.Rollout == task.Failed
	for _, set := range []taskSet{older.unhealthy, older.pending, older.serving} {
		set.Reverse(func(t *task.Task) bool {
			c.occupy(t)
			switch listed := c.listed(t); {
			case listed && t.Serving() && p.proven <= p.minServing && !c.covered[nodeOf(t)]:
			case !listed, !failed && !slices.Contains(p.unhealthy, t): // coverNodes has stopped the unhealthy ones
				p.stopUnlessProtected(t)
			}
			return true
		})
	}
	older.stopping.Scan(c.occupy)
}

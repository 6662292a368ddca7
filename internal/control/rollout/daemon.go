package rollout

import (
	"cmp"
	"maps"
	"slices"

	"github.com/bakingclouds/rollcall/internal/task"
)

// Nodes are those that a DAEMON service is concerned with, by name. True are the eligible ones, which shall
// have a task; false are those that cannot be reached: nothing is started there, and what runs there is left
// alone. On a node that is not among them the service shall have no task.
type Nodes map[string]bool

func (ns Nodes) eligible() (n int) {
	for _, yes := range ns {
		if yes {
			n++
		}
	}
	return n
}

// node is where a daemon's task runs, or is to run.
func node(t *task.Task) string { return cmp.Or(t.Node, t.OnlyNode) }

// coverNodes brings a DAEMON service to one task on each eligible node. There is never a second one on a node,
// so an old task goes first, as far as the minimum allows, and then the new one comes. The oldest task of the
// primary on a node stays.
func (p *pass) coverNodes(nodes Nodes) {
	taken, covered := map[string]bool{}, map[string]bool{}
	failed := p.primary.Rollout == task.Failed
	unwanted := func(t *task.Task) bool { _, ok := nodes[node(t)]; return !ok }

	mine := slices.Concat(p.mine.serving.Items(), p.mine.coming.Items(), ofDeployment(p.spared, p.primary.ID))
	for _, t := range mine {
		if unwanted(t) || covered[node(t)] {
			p.release(t)
			continue
		}
		covered[node(t)], taken[node(t)] = true, true
	}
	for _, t := range p.sick {
		taken[node(t)] = true
		p.stop(t, ReasonUnhealthy)
	}
	p.mine.ending.Scan(func(t *task.Task) bool { taken[node(t)] = true; return true })
	for _, s := range p.old {
		for _, c := range []class{s.sick, s.coming, s.serving} {
			c.Reverse(func(t *task.Task) bool {
				taken[node(t)] = true
				if t.Serving() && p.sure <= p.min && !covered[node(t)] && !unwanted(t) {
					return true
				}
				if !failed && !slices.Contains(p.sick, t) || unwanted(t) {
					p.release(t)
				}
				return true
			})
		}
		s.ending.Scan(func(t *task.Task) bool { taken[node(t)] = true; return true })
	}
	if failed {
		return
	}
	var free []string
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		if nodes[name] && !taken[name] {
			free = append(free, name)
		}
	}
	if len(free) > 0 {
		p.Start = p.allowed(len(free))
		p.Nodes = free[:p.Start]
	}
}

func ofDeployment(ts []*task.Task, deployment string) []*task.Task {
	return slices.DeleteFunc(slices.Clone(ts), func(t *task.Task) bool { return t.Deployment != deployment })
}

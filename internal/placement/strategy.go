package placement

import (
	"cmp"
	"slices"
	"strings"

	"github.com/bakingclouds/rollcall/internal/task"
)

// The default strategies: the tasks of a service are spread over the zones and then over the instances, standalone
// tasks are placed at random (ECS Developer Guide, "Task placement strategies").
var (
	defaultForServices = []task.PlacementStrategy{
		{Type: task.Spread, Field: "attribute:ecs.availability-zone"}, {Type: task.Spread, Field: "instanceId"},
	}
	defaultForTasks = []task.PlacementStrategy{{Type: task.Random}}
)

// best picks one of the hosts that fit. Each strategy in turn keeps the hosts that it ranks first. Of the hosts that
// are left it picks the one with the fewest tasks, then the first by name. spread counts the tasks on all candidates.
func best(fit, candidates []*Host, rq Requirements, random func(n int) int) *Host {
	strategies := rq.Strategy
	switch {
	case len(strategies) > 0:
	case rq.Service:
		strategies = defaultForServices
	default:
		strategies = defaultForTasks
	}
	for _, s := range strategies {
		switch s.Type {
		case task.Random:
			fit = []*Host{fit[random(len(fit))]}
		case task.Binpack:
			fit = lowest(fit, func(h *Host) int {
				if strings.EqualFold(s.Field, "cpu") {
					return h.FreeCPU()
				}
				return h.FreeMemory()
			})
		case task.Spread:
			count := map[string]int{} // tasks of the group by the value of the field
			for _, h := range candidates {
				count[fieldValue(h, s.Field)] += h.groupCount(rq.Group)
			}
			fit = lowest(fit, func(h *Host) int { return count[fieldValue(h, s.Field)] })
		}
	}
	return slices.MinFunc(fit, func(a, b *Host) int {
		return cmp.Or(cmp.Compare(a.usage.tasks, b.usage.tasks), cmp.Compare(a.Node.Name, b.Node.Name))
	})
}

// fieldValue returns a host's value of a field to spread over. All hosts without an attribute have the same value.
func fieldValue(h *Host, field string) string {
	if name, ok := strings.CutPrefix(field, "attribute:"); ok {
		return h.Attributes()[name]
	}
	return h.Node.Name // instanceId, host
}

// lowest returns the hosts with the lowest value.
func lowest(hosts []*Host, value func(*Host) int) []*Host {
	var found []*Host
	least := 0
	for _, h := range hosts {
		switch v := value(h); {
		case len(found) == 0 || v < least:
			found, least = []*Host{h}, v
		case v == least:
			found = append(found, h)
		}
	}
	return found
}

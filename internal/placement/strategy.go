package placement

import (
	"cmp"
	"slices"
	"strings"

	"github.com/bakingclouds/rollcall/internal/task"
)

// The strategies where none is given: a service's tasks are spread over the zones and then over the instances, others
// go anywhere (ECS Developer Guide, "Task placement strategies").
var (
	defaultOfServices = []task.PlacementStrategy{
		{Type: task.Spread, Field: "attribute:ecs.availability-zone"}, {Type: task.Spread, Field: "instanceId"},
	}
	defaultOfTasks = []task.PlacementStrategy{{Type: task.Random}}
)

// prefer chooses among the hosts that fit: each strategy in turn keeps those that it likes best. Of what all like
// equally, the host with the fewest tasks is taken, the first of several by name.
func prefer(fit, open []*Host, w Requirements, random func(n int) int) *Host {
	strategy := w.Strategy
	switch {
	case len(strategy) > 0:
	case w.Service:
		strategy = defaultOfServices
	default:
		strategy = defaultOfTasks
	}
	for _, s := range strategy {
		switch s.Type {
		case task.Random:
			fit = []*Host{fit[random(len(fit))]}
		case task.Binpack:
			fit = least(fit, func(h *Host) int {
				if strings.EqualFold(s.Field, "cpu") {
					return h.FreeCPU()
				}
				return h.FreeMemory()
			})
		case task.Spread:
			have := map[string]int{} // tasks of the group by the value of the field, those on full hosts too
			for _, h := range open {
				have[valueOf(h, s.Field)] += h.group(w.Group)
			}
			fit = least(fit, func(h *Host) int { return have[valueOf(h, s.Field)] })
		}
	}
	return slices.MinFunc(fit, func(a, b *Host) int {
		return cmp.Or(cmp.Compare(a.load.tasks, b.load.tasks), cmp.Compare(a.Node.Name, b.Node.Name))
	})
}

// valueOf is a host's value of a field to spread over; hosts without the attribute share one.
func valueOf(h *Host, field string) string {
	if name, ok := strings.CutPrefix(field, "attribute:"); ok {
		return h.Attributes()[name]
	}
	return h.Node.Name // instanceId, host
}

// least keeps the hosts with the smallest value.
func least(hosts []*Host, value func(*Host) int) []*Host {
	var best []*Host
	lowest := 0
	for _, h := range hosts {
		switch v := value(h); {
		case len(best) == 0 || v < lowest:
			best, lowest = []*Host{h}, v
		case v == lowest:
			best = append(best, h)
		}
	}
	return best
}

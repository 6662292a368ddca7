package inspect

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/task"
)

func (a *api) getStatus(context.Context, *GetStatusInput) (*GetStatusOutput, error) {
	s := a.db.Snapshot()
	out := &GetStatusOutput{Revision: s.Rev(), Nodes: []Node{}, Services: []ServiceStatus{}, Namespaces: []NamespaceStatus{}}
	if stale, since := a.db.Stale(); stale {
		out.Stale = &since
	}
	for _, n := range task.Nodes(s) {
		live := int64(0)
		for _, t := range task.TasksOn(s, n.Name) {
			if t.Observed.State < task.Stopped {
				live++
			}
		}
		out.Nodes = append(out.Nodes, Node{Name: n.Name, Runtime: n.Runtime, Tasks: live})
	}
	task.ScanAllServices(s, func(svc *task.Service) bool {
		if svc.Status != task.Inactive {
			out.Services = append(out.Services, a.serviceStatus(svc, task.TasksOf(s, svc.Scope(), svc.Cluster, svc.Name), task.Events(s, svc)))
		}
		return true
	})
	registry.ScanAllNamespaces(s, func(ns *registry.Namespace) bool {
		out.Namespaces = append(out.Namespaces, a.namespaceStatus(ns))
		return true
	})
	return out, nil
}

// serviceStatus counts a service's tasks.
func (a *api) serviceStatus(svc *task.Service, tasks []*task.Task, events []*task.Event) ServiceStatus {
	p := svc.Primary()
	st := ServiceStatus{
		Region: svc.Region, Cluster: svc.Cluster, Name: svc.Name, Status: svc.Status, Desired: int64(svc.DesiredCount),
		Rollout: string(p.Rollout), Definition: p.Family + ":" + strconv.Itoa(p.Revision), Since: nonZero(p.Updated),
	}
	for _, t := range tasks {
		switch {
		case t.Registration == task.Draining:
			st.Draining++
		case t.Live() && t.Observed.State == task.Running:
			st.Running++
			if t.Serving() {
				st.Healthy++
			}
		}
	}
	if len(events) > 0 {
		st.Event = events[0].Message
	}
	return st
}

func nonZero(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// namespaceStatus counts a namespace's services and instances.
func (a *api) namespaceStatus(ns *registry.Namespace) NamespaceStatus {
	s := a.db.Snapshot()
	sc := registry.Scope{Account: ns.Account, Region: ns.Region}
	st := NamespaceStatus{Region: ns.Region, Name: ns.Name, ID: ns.ID, Kind: string(ns.Kind)}
	registry.ScanServices(s, sc, ns.ID, "", func(svc *registry.Service) bool {
		st.Services++
		st.Instances += int64(registry.InstanceCount(s, sc, svc.ID))
		return true
	})
	st.Shadowed = shadowed(a.dns.Directory, ns)
	return st
}

// shadowed finds the namespace that answers in place of one: of the same name, for the same clients, and
// asked first.
func shadowed(dir *directory.Directory, ns *registry.Namespace) string {
	for _, z := range dir.Zones(directory.Fold(ns.Name)) {
		other := z.Namespace()
		if other.ID == ns.ID {
			return ""
		}
		if directory.Fold(other.Name) == directory.Fold(ns.Name) && overlap(other, dir, ns.ID) {
			return other.ID
		}
	}
	return ""
}

// overlap reports whether a namespace claims clients that another one claims too.
func overlap(first *directory.Namespace, dir *directory.Directory, id string) bool {
	second, ok := dir.Namespace(id)
	if !ok {
		return false
	}
	if len(first.Networks) == 0 || len(second.Networks) == 0 {
		return true
	}
	for _, n := range second.Networks {
		covers := func(p netip.Prefix) bool { return p.Bits() <= n.Bits() && p.Contains(n.Addr()) }
		if slices.ContainsFunc(first.Networks, n.Overlaps) && !slices.ContainsFunc(first.Except, covers) {
			return true
		}
	}
	return false
}

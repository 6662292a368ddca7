package inspect

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// maxListed is the largest number of services of a namespace that are listed, unless all are requested.
const maxListed = 20

func (a *api) getStatus(_ context.Context, in *GetStatusInput) (*GetStatusOutput, error) {
	s := a.db.Snapshot()
	out := &GetStatusOutput{Revision: s.Rev(), Notes: a.notes(), Nodes: []Node{}, Services: []ServiceStatus{},
		Namespaces: []NamespaceStatus{}}
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
			out.Services = append(out.Services, a.serviceStatus(svc, task.TasksOf(s, svc.Ref()), task.Events(s, svc)))
		}
		return true
	})
	registry.ScanAllNamespaces(s, func(ns *registry.Namespace) bool {
		out.Namespaces = append(out.Namespaces, a.namespaceStatus(s, ns, in.All))
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
			st.Drains = append(st.Drains, a.drain(t))
		case t.Live() && t.Observed.State == task.Running:
			st.Running++
			if t.Serving() {
				st.Healthy++
				if t.Deployment == p.ID {
					st.Updated++
				}
			}
		}
	}
	if len(events) > 0 {
		st.Event = events[0].Message
	}
	return st
}

// drain describes a draining task: its address, and the time until the last answer of this node with it expires.
func (a *api) drain(t *task.Task) Drain {
	var left time.Duration
	for _, reg := range t.Registries {
		left = max(left, a.dns.Directory.ExpiresAt(reg.ServiceID, string(t.ID)).Until())
	}
	d := Drain{Task: string(t.ID), Left: int64((left + time.Second - 1) / time.Second)}
	if t.Observed.Address.IsValid() {
		d.Address = t.Observed.Address.String()
	}
	return d
}

func nonZero(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// namespaceStatus counts a namespace's services and their instances.
func (a *api) namespaceStatus(s *store.Snapshot, ns *registry.Namespace, all bool) NamespaceStatus {
	sc := arn.Scope{Account: ns.Account, Region: ns.Region}
	st := NamespaceStatus{Region: ns.Region, Name: ns.Name, ID: ns.ID, Kind: string(ns.Kind)}
	var services []RegisteredService
	registry.ScanServices(s, sc, registry.ServiceRange{NamespaceID: ns.ID}, func(svc *registry.Service) bool {
		rs := RegisteredService{Name: svc.Name, ID: svc.ID}
		if v, ok := a.dns.Directory.ServiceByID(svc.ID); ok {
			rs.Counts = counts(v)
		}
		services = append(services, rs)
		st.Services++
		st.Counts.add(rs.Counts)
		return true
	})
	most := maxListed
	if all {
		most = len(services)
	}
	st.Listed = listed(services, most)
	st.Shadowed = shadowed(a.dns.Directory, ns)
	return st
}

// counts returns the number of a service's instances in each state. It reads the directory, which has sets by state,
// instead of scanning the rows.
func counts(v *directory.View) Counts {
	n := func(s directory.State) int64 { return int64(v.In(s).Len()) }
	return Counts{n(directory.Healthy), n(directory.Unhealthy), n(directory.Unready), n(directory.Draining)}
}

func (c *Counts) add(more Counts) {
	c.Healthy += more.Healthy
	c.Unhealthy += more.Unhealthy
	c.NotReady += more.NotReady
	c.Draining += more.Draining
}

// listed returns at most most services, by name. If there are more, those with the most unhealthy and unready instances
// take precedence.
func listed(services []RegisteredService, most int) []RegisteredService {
	trouble := func(s RegisteredService) int64 { return s.Counts.Unhealthy + s.Counts.NotReady }
	byName := func(a, b RegisteredService) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) }
	if len(services) > most {
		slices.SortFunc(services, func(a, b RegisteredService) int {
			return cmp.Or(cmp.Compare(trouble(b), trouble(a)), byName(a, b))
		})
		services = services[:most]
	}
	slices.SortFunc(services, byName)
	return services
}

// shadowed returns the id of the namespace that answers instead of ns: an older one with the same name and overlapping
// networks.
func shadowed(dir *directory.Directory, ns *registry.Namespace) string {
	for _, z := range dir.Zones(directory.CanonicalName(ns.Name)) {
		other := z.Namespace()
		if other.ID == ns.ID {
			return ""
		}
		if directory.CanonicalName(other.Name) == directory.CanonicalName(ns.Name) && overlap(other, dir, ns.ID) {
			return other.ID
		}
	}
	return ""
}

// overlap reports whether two namespaces answer some of the same clients.
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
		if slices.ContainsFunc(first.Networks, n.Overlaps) && !slices.ContainsFunc(first.ExcludedNetworks, covers) {
			return true
		}
	}
	return false
}

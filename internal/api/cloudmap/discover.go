package cloudmap

import (
	"context"
	"math/rand/v2"

	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/registry"
)

// DiscoverInstances returns at most so many instances, and so many unless the request says otherwise.
const (
	maxDiscovered     = 1000
	defaultDiscovered = 100
)

func (a *api) discoverInstances(ctx context.Context, in *sd.DiscoverInstancesInput) (*discovered, error) {
	c := discoverMembers(in.NamespaceName, in.ServiceName, in.OwnerAccount)
	number(c, in.MaxResults, "maxResults", 1, maxDiscovered)
	enum(c, in.HealthStatus, "healthStatus", in.HealthStatus.Values())
	c.attributes(in.QueryParameters, "queryParameters", instanceAttrKey, instanceAttrText)
	c.attributes(in.OptionalParameters, "optionalParameters", instanceAttrKey, instanceAttrText)
	if err := c.err(); err != nil {
		return nil, err
	}
	v, err := a.watched(ctx, *in.NamespaceName, *in.ServiceName, in.OwnerAccount)
	if err != nil {
		return nil, err
	}
	max := defaultDiscovered
	if in.MaxResults != nil {
		max = int(*in.MaxResults)
	}
	guard := a.dir.AcquireGuard()
	for v.Stale() {
		if v, err = a.view(ctx, *in.NamespaceName, *in.ServiceName, in.OwnerAccount); err != nil {
			guard.Release()
			return nil, err
		}
	}
	// What the answer points to belongs to the view and its instances, which never change.
	found := choose(v, in.HealthStatus, in.QueryParameters, in.OptionalParameters, max)
	handOut(ctx, guard, found, v.Service.DiscoverTTL())
	return &discovered{v, found}, nil
}

// handOut notes that instances are given away, now and again when the answer has been sent, and then leaves
// the guard under which they were found.
func handOut(ctx context.Context, guard directory.Guard, found []*directory.Instance, ttl uint32) {
	drains := false
	for _, i := range found {
		i.MarkSent(directory.Now(), ttl)
		drains = drains || i.TrackExpiry
	}
	if !drains {
		guard.Release()
		return
	}
	awsapi.WhenSent(ctx, func() {
		for _, i := range found {
			i.MarkSent(directory.Now(), ttl)
		}
		guard.Release()
	})
}

func (a *api) discoverInstancesRevision(ctx context.Context, in *sd.DiscoverInstancesRevisionInput) (*sd.DiscoverInstancesRevisionOutput, error) {
	if err := discoverMembers(in.NamespaceName, in.ServiceName, in.OwnerAccount).err(); err != nil {
		return nil, err
	}
	v, err := a.watched(ctx, *in.NamespaceName, *in.ServiceName, in.OwnerAccount)
	if err != nil {
		return nil, err
	}
	return &sd.DiscoverInstancesRevisionOutput{InstancesRevision: &v.Service.Revision}, nil
}

// discoverMembers checks the members that name a service by its names.
func discoverMembers(namespace, service, owner *string) *constraints {
	c := &constraints{}
	c.name(namespace, "namespaceName", namespaceName)
	c.name(service, "serviceName", serviceName)
	c.text(owner, "ownerAccount", accountID)
	return c
}

// view finds a service by names. A namespace is known by its HttpName; failing that by its Name, which is
// what external-dns passes, when it is the only one of that name.
func (a *api) view(ctx context.Context, namespace, service string, owner *string) (*directory.View, error) {
	sc := awsapi.ScopeFrom(ctx)
	if owner != nil && *owner != sc.Account {
		return nil, namespaceNotFound(namespace)
	}
	ns, v := a.dir.Discover(sc.Region, namespace, service)
	if ns == nil {
		if row, ok := registry.NamespaceNamed(a.rows(ctx), sc, namespace); ok {
			ns, v = a.dir.Discover(sc.Region, row.HTTPName, service)
		}
	}
	switch {
	case ns == nil:
		return nil, namespaceNotFound(namespace)
	case v == nil:
		return nil, fault.New(fault.NotFound, "service", "Failed to find service %s in namespace %s", service, namespace)
	}
	return v, nil
}

func namespaceNotFound(name string) error {
	return fault.New(fault.NotFound, "namespace", "Failed to find namespace: %s", name)
}

// healthOf is the status that an instance is shown with.
func healthOf(v *directory.View, i *directory.Instance) types.HealthStatus {
	switch {
	case !v.Service.HealthChecked:
		return types.HealthStatusUnknown
	case i.State == directory.Healthy:
		return types.HealthStatusHealthy
	}
	return types.HealthStatusUnhealthy
}

// choose picks the instances of an answer, in random order: those of the wanted health that have all of
// query, of them those that have all of optional if there are any, of them at most max.
//
// Draining instances are in no answer. Unready ones, which have never been healthy, are unhealthy to those
// who ask for unhealthy ones, but no one falls back to them, as in DNS. Without a health configuration the
// wanted health is ignored, and unready instances are left out.
func choose(v *directory.View, want types.HealthStatusFilter, query, optional map[string]string, max int) []*directory.Instance {
	healthy, unhealthy, unready := v.In(directory.Healthy), v.In(directory.Unhealthy), v.In(directory.Unready)
	if !v.Service.HealthChecked {
		return pick(pool{healthy, unhealthy}, query, optional, max)
	}
	switch want {
	case types.HealthStatusFilterAll:
		return pick(pool{healthy, unhealthy, unready}, query, optional, max)
	case types.HealthStatusFilterUnhealthy:
		return pick(pool{unhealthy, unready}, query, optional, max)
	case types.HealthStatusFilterHealthyOrElseAll:
		if found := pick(pool{healthy}, query, optional, max); len(found) > 0 {
			return found
		}
		return pick(pool{unhealthy}, query, optional, max)
	default:
		return pick(pool{healthy}, query, optional, max)
	}
}

// pool is what an answer is picked from.
type pool [3]directory.Set

func (p *pool) len() int { return p[0].Len() + p[1].Len() + p[2].Len() }

func (p *pool) at(i int) *directory.Instance {
	for s := range p {
		if i < p[s].Len() {
			return p[s].At(i)
		}
		i -= p[s].Len()
	}
	panic("cloudmap: position outside of the pool")
}

// pick applies the parameters and chooses at random. Without parameters it touches no more instances than
// it returns.
func pick(p pool, query, optional map[string]string, max int) []*directory.Instance {
	n := p.len()
	if len(query) == 0 && len(optional) == 0 {
		found := make([]*directory.Instance, min(n, max))
		for k, i := range positions(n, len(found)) {
			found[k] = p.at(i)
		}
		return found
	}
	all, preferred := sample{max: max}, sample{max: max}
	for i := range n {
		inst := p.at(i)
		if !has(inst, query) {
			continue
		}
		all.add(inst)
		if len(optional) > 0 && has(inst, optional) {
			preferred.add(inst)
		}
	}
	found := all.kept
	if len(preferred.kept) > 0 {
		found = preferred.kept
	}
	rand.Shuffle(len(found), func(i, k int) { found[i], found[k] = found[k], found[i] })
	return found
}

// sample keeps max of what is added to it, any as likely as any other (Vitter's algorithm R).
type sample struct {
	max, seen int
	kept      []*directory.Instance
}

func (s *sample) add(i *directory.Instance) {
	s.seen++
	if len(s.kept) < s.max {
		s.kept = append(s.kept, i)
	} else if k := rand.IntN(s.seen); k < s.max {
		s.kept[k] = i
	}
}

func has(i *directory.Instance, all map[string]string) bool {
	for k, v := range all {
		if got, ok := i.Attributes.Lookup(k); !ok || got != v {
			return false
		}
	}
	return true
}

// positions are k different numbers below n in random order, each choice and each order as likely as any
// other.
func positions(n, k int) []int {
	if n <= 4*k { // the start of a shuffle
		all := make([]int, n)
		for i := range all {
			all[i] = i
		}
		for i := range k {
			j := i + rand.IntN(n-i)
			all[i], all[j] = all[j], all[i]
		}
		return all[:k]
	}
	some := make([]int, 0, k)
	taken := make(map[int]struct{}, k)
	for len(some) < k { // at most one in four is drawn again
		i := rand.IntN(n)
		if _, again := taken[i]; !again {
			taken[i] = struct{}{}
			some = append(some, i)
		}
	}
	return some
}

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

// The largest and the default number of instances that DiscoverInstances returns.
const (
	maxDiscovered     = 1000
	defaultDiscovered = 100
)

func (a *api) discoverInstances(ctx context.Context, in *sd.DiscoverInstancesInput) (*discovered, error) {
	c := discoverMembers(in.NamespaceName, in.ServiceName, in.OwnerAccount)
	optionalNumber(c, in.MaxResults, "maxResults", 1, maxDiscovered)
	optionalEnum(c, in.HealthStatus, "healthStatus", in.HealthStatus.Values())
	c.attributes(in.QueryParameters, "queryParameters", instanceAttrKey, instanceAttrText)
	c.attributes(in.OptionalParameters, "optionalParameters", instanceAttrKey, instanceAttrText)
	if err := c.err(); err != nil {
		return nil, err
	}
	v, err := a.awaitView(ctx, *in.NamespaceName, *in.ServiceName, in.OwnerAccount)
	if err != nil {
		return nil, err
	}
	max := defaultDiscovered
	if in.MaxResults != nil {
		max = int(*in.MaxResults)
	}
	guard := a.dir.AcquireGuard()
	for v.Stale() {
		if v, err = a.findView(ctx, *in.NamespaceName, *in.ServiceName, in.OwnerAccount); err != nil {
			guard.Release()
			return nil, err
		}
	}
	// The response refers to the view and its instances, which never change.
	found := choose(v, in.HealthStatus, in.QueryParameters, in.OptionalParameters, max)
	markSent(ctx, guard, found, v.Service.DiscoverTTL())
	return &discovered{v, found}, nil
}

// markSent records that instances are sent, once now and once after the response has been sent. Then it releases the
// guard that was held while they were found. The records determine how long a draining task keeps running.
func markSent(ctx context.Context, guard directory.Guard, found []*directory.Instance, ttl uint32) {
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

func (a *api) discoverInstancesRevision(
	ctx context.Context, in *sd.DiscoverInstancesRevisionInput,
) (*sd.DiscoverInstancesRevisionOutput, error) {
	if err := discoverMembers(in.NamespaceName, in.ServiceName, in.OwnerAccount).err(); err != nil {
		return nil, err
	}
	v, err := a.awaitView(ctx, *in.NamespaceName, *in.ServiceName, in.OwnerAccount)
	if err != nil {
		return nil, err
	}
	return &sd.DiscoverInstancesRevisionOutput{InstancesRevision: &v.Service.Revision}, nil
}

// discoverMembers checks the members that identify a service by its names.
func discoverMembers(namespace, service, owner *string) *constraints {
	c := &constraints{}
	c.requiredText(namespace, "namespaceName", namespaceName)
	c.requiredText(service, "serviceName", serviceName)
	c.optionalText(owner, "ownerAccount", accountID)
	return c
}

// findView finds a service by names. A namespace matches by its HttpName, or else by its Name if no other namespace has
// it: external-dns sends the Name.
func (a *api) findView(ctx context.Context, namespace, service string, owner *string) (*directory.View, error) {
	sc := awsapi.ScopeFrom(ctx)
	if owner != nil && *owner != sc.Account {
		return nil, namespaceNotFound(namespace)
	}
	ns, v := a.dir.Discover(sc.Region, namespace, service)
	if ns == nil {
		if row, ok := registry.FindNamespaceByName(a.snapshot(ctx), sc, namespace); ok {
			ns, v = a.dir.Discover(sc.Region, row.HTTPName, service)
		}
	}
	switch {
	case ns == nil:
		return nil, namespaceNotFound(namespace)
	case v == nil:
		return nil, fault.New(fault.NotFound, "service", "Failed to find service %s in namespace %s", service,
			namespace)
	}
	return v, nil
}

func namespaceNotFound(name string) error {
	return fault.New(fault.NotFound, "namespace", "Failed to find namespace: %s", name)
}

// healthOf returns the status that an instance is shown with.
func healthOf(v *directory.View, i *directory.Instance) types.HealthStatus {
	switch {
	case !v.Service.HealthChecked:
		return types.HealthStatusUnknown
	case i.State == directory.Healthy:
		return types.HealthStatusHealthy
	}
	return types.HealthStatusUnhealthy
}

// choose returns the instances of a response in random order: instances with the requested health and all query
// parameters; if some of these have all optional parameters, only those; and at most max.
//
// Draining instances are never returned. Unready instances, which have never been healthy, are returned with unhealthy
// ones, but not as a fallback for healthy ones, as in DNS. Without a health configuration, the requested health is
// ignored and unready instances are omitted.
func choose(
	v *directory.View, want types.HealthStatusFilter, query, optional map[string]string, max int,
) []*directory.Instance {
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

// pool is the set of instances that a response is chosen from.
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

// pick applies the parameters and chooses at random. Without parameters it visits only the instances that it returns.
func pick(p pool, query, optional map[string]string, max int) []*directory.Instance {
	n := p.len()
	if len(query) == 0 && len(optional) == 0 {
		found := make([]*directory.Instance, min(n, max))
		for k, i := range randomPositions(n, len(found)) {
			found[k] = p.at(i)
		}
		return found
	}
	all, preferred := sample{max: max}, sample{max: max}
	for i := range n {
		inst := p.at(i)
		if !hasAttributes(inst, query) {
			continue
		}
		all.add(inst)
		if len(optional) > 0 && hasAttributes(inst, optional) {
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

// sample is a random sample of up to max of the added instances. All samples are equally likely (Vitter's algorithm R).
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

func hasAttributes(i *directory.Instance, all map[string]string) bool {
	for k, v := range all {
		if got, ok := i.Attributes.Lookup(k); !ok || got != v {
			return false
		}
	}
	return true
}

// randomPositions returns k different numbers below n in random order. All choices and orders are equally likely.
func randomPositions(n, k int) []int {
	if n <= 4*k { // the first k steps of a shuffle
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
	for len(some) < k { // repeats at most one draw in four
		i := rand.IntN(n)
		if _, again := taken[i]; !again {
			taken[i] = struct{}{}
			some = append(some, i)
		}
	}
	return some
}

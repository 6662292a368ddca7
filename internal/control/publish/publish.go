// Package publish keeps the directory equal to the Cloud Map rows of the store, on every node. It applies one store
// revision at a time and is the only writer of the directory.
//
// Because it follows the store, a write is visible in DNS and DiscoverInstances when the call that made it returns.
//
// publish does not decide what an answer contains: it translates rows, and the directory and dns/answer decide. Start
// reading at [Follow].
package publish

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
)

// Networks returns the networks of a VPC's clients, and the networks within those that do not belong to the VPC. An
// empty first list means all clients.
type Networks func(region, vpc string) (in, except []netip.Prefix)

// Follow fills dir from db and applies every later change.
func Follow(db *store.Store, dir *directory.Directory, networks Networks) {
	db.Follow(func(c store.Change) {
		dir.Apply(c.Rev, func(b *directory.Batch) { apply(b, c.Rows, networks) })
	})
}

// apply applies the changes of one revision, whose rows are in any order. It adds namespaces before services and
// services before instances, and removes in the opposite order.
func apply(b *directory.Batch, rows []store.RowChange, networks Networks) {
	for _, r := range rows {
		if ns, ok := r.New.(*registry.Namespace); ok {
			b.PutNamespace(namespaceOf(ns, networks))
		}
	}
	for _, r := range rows {
		if svc, ok := r.New.(*registry.Service); ok {
			b.PutService(serviceOf(svc))
		}
	}
	for _, r := range rows {
		applyInstance(b, r)
	}
	for _, r := range rows {
		if svc, ok := r.Old.(*registry.Service); ok && r.New == nil {
			b.RemoveService(svc.ID)
		}
	}
	for _, r := range rows {
		if ns, ok := r.Old.(*registry.Namespace); ok && r.New == nil {
			b.RemoveNamespace(ns.ID)
		}
	}
}

// applyInstance applies the change of an instance or of a service's InstancesRevision.
func applyInstance(b *directory.Batch, r store.RowChange) {
	switch row := r.New.(type) {
	case *registry.Instance:
		b.PutInstance(instanceOf(row))
	case *registry.Revision:
		if id, ok := registry.ServiceOfRevision(r.Key); ok {
			b.SetRevision(id, r.Revision)
		}
	case nil:
		if old, ok := r.Old.(*registry.Instance); ok {
			b.RemoveInstance(old.ServiceID, old.ID)
		}
	}
}

func namespaceOf(ns *registry.Namespace, networks Networks) directory.Namespace {
	d := directory.Namespace{
		ID: ns.ID, Region: ns.Region, Name: ns.Name, HTTPName: ns.HTTPName,
		NegativeTTL: ns.NegativeTTL(), Order: ns.Created.UnixNano(),
	}
	switch ns.Kind {
	case registry.Private:
		d.Kind = directory.Private
		d.Networks, d.ExcludedNetworks = networks(ns.Region, ns.VPC)
	case registry.Public:
		d.Kind = directory.Public
	}
	return d
}

var recordTypes = map[registry.RecordType]directory.RecordType{
	registry.A: directory.A, registry.AAAA: directory.AAAA, registry.SRV: directory.SRV,
	registry.CNAME: directory.CNAME,
}

func serviceOf(svc *registry.Service) directory.Service {
	d := directory.Service{
		ID: svc.ID, NamespaceID: svc.NamespaceID, Name: svc.Name, HealthChecked: svc.HealthConfigured(),
	}
	if d.LongestTTL = uint32(svc.LongestTTL() / time.Second); len(svc.Records) == 0 {
		d.LongestTTL = directory.DefaultDiscoverTTL
	}
	if svc.Policy == registry.Weighted {
		d.Policy = directory.Weighted
	}
	for _, r := range svc.Records {
		d.Records = append(d.Records, directory.Record{Type: recordTypes[r.Type], TTL: uint32(r.TTL)})
	}
	return d
}

func instanceOf(i *registry.Instance) *directory.Instance {
	d := &directory.Instance{ID: i.ID, ServiceID: i.ServiceID, Attributes: i.Attributes, TrackExpiry: i.Task != ""}
	for key, v := range i.Attributes.All() {
		switch key { // RegisterInstance has checked the values; an empty one means no address or no port
		case registry.AttrIPv4:
			d.IPv4, _ = netip.ParseAddr(v)
		case registry.AttrIPv6:
			d.IPv6, _ = netip.ParseAddr(v)
		case registry.AttrCNAME:
			d.CNAME = v
		case registry.AttrPort:
			port, _ := strconv.ParseUint(v, 10, 16)
			d.Port = uint16(port)
		}
	}
	switch {
	case i.Draining:
		d.State = directory.Draining
	case i.Unready:
		d.State = directory.Unready
	case i.Health == registry.Unhealthy:
		d.State = directory.Unhealthy
	}
	return d
}

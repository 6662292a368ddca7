// Package publish keeps the directory equal to the registry's rows, one store revision at a time, on every
// node. It is the only writer of the directory.
//
// It follows the store, so a write has reached DNS and DiscoverInstances when its call returns.
package publish

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
)

// Networks says which clients belong to a VPC: those in the first list and not in the second. An empty
// first list means everybody.
type Networks func(region, vpc string) (in, except []netip.Prefix)

// Follow fills dir from db and keeps it equal from then on.
func Follow(db *store.Store, dir *directory.Directory, networks Networks) {
	db.Follow(func(c store.Change) {
		dir.Apply(c.Rev, func(b *directory.Batch) { apply(b, c.Rows, networks) })
	})
}

// apply makes one revision's changes: what appears comes parents first, what goes, children first.
func apply(b *directory.Batch, rows []store.RowChange, networks Networks) {
	for _, r := range rows {
		if ns, ok := r.New.(*registry.Namespace); ok {
			b.PutNamespace(namespace(ns, networks))
		}
	}
	for _, r := range rows {
		if svc, ok := r.New.(*registry.Service); ok {
			b.PutService(service(svc))
		}
	}
	for _, r := range rows {
		switch row := r.New.(type) {
		case *registry.Instance:
			b.PutInstance(instance(row))
		case *registry.Revision:
			if id, ok := registry.RevisionOf(r.Key); ok {
				b.SetRevision(id, r.Revision)
			}
		case nil:
			if gone, ok := r.Old.(*registry.Instance); ok {
				b.RemoveInstance(gone.ServiceID, gone.ID)
			}
		}
	}
	for _, r := range rows {
		if gone, ok := r.Old.(*registry.Service); ok && r.New == nil {
			b.RemoveService(gone.ID)
		}
	}
	for _, r := range rows {
		if gone, ok := r.Old.(*registry.Namespace); ok && r.New == nil {
			b.RemoveNamespace(gone.ID)
		}
	}
}

func namespace(ns *registry.Namespace, networks Networks) directory.Namespace {
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
	registry.A: directory.A, registry.AAAA: directory.AAAA, registry.SRV: directory.SRV, registry.CNAME: directory.CNAME,
}

func service(svc *registry.Service) directory.Service {
	d := directory.Service{ID: svc.ID, NamespaceID: svc.NamespaceID, Name: svc.Name, HealthChecked: svc.HealthConfigured()}
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

func instance(i *registry.Instance) *directory.Instance {
	d := &directory.Instance{ID: i.ID, ServiceID: i.ServiceID, Attributes: i.Attributes, TrackExpiry: i.Task != ""}
	for key, v := range i.Attributes.All() { // the registry has checked the values; an empty one is no address and no port
		switch key {
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

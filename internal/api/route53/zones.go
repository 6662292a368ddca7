package route53

import (
	"cmp"
	"slices"
	"strings"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/paging"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
)

const (
	maxZones    = 100 // on a page
	zonePrefix  = "/hostedzone/"
	privateOnly = "PrivateHostedZone" // the only HostedZoneType
)

// hostedZone is a zone as most operations return it.
type hostedZone struct {
	ID                string `xml:"Id"`
	Name              string
	CallerReference   string
	Comment           string `xml:"Config>Comment"`
	Private           bool   `xml:"Config>PrivateZone"`
	Count             int    `xml:"ResourceRecordSetCount"`
	LinkedPrincipal   string `xml:"LinkedService>ServicePrincipal"`
	LinkedDescription string `xml:"LinkedService>Description"`
}

// hostedZones is an element even if it is empty, because clients expect the list.
type hostedZones struct {
	HostedZone []hostedZone
}

func (a *API) hostedZone(now *store.Snapshot, ns *registry.Namespace) hostedZone {
	return hostedZone{
		ID:                zonePrefix + ns.ZoneID,
		Name:              formatName(directory.CanonicalName(ns.Name)),
		CallerReference:   ns.ID,
		Comment:           "Created by AWS Cloud Map namespace with ARN " + namespaceARN(ns),
		Private:           ns.Kind == registry.Private,
		Count:             a.countRecordSets(now, ns),
		LinkedPrincipal:   "servicediscovery.amazonaws.com",
		LinkedDescription: namespaceARN(ns),
	}
}

func namespaceARN(ns *registry.Namespace) string {
	return arn.New("servicediscovery", ns.Region, ns.Account, "namespace/"+ns.ID).String()
}

// zones returns the account's DNS namespaces of all regions for which match returns true, sorted by the ids of their
// zones.
func zones(now *store.Snapshot, account string, match func(*registry.Namespace) bool) []*registry.Namespace {
	var all []*registry.Namespace
	registry.ScanAllNamespaces(now, func(ns *registry.Namespace) bool {
		if ns.ZoneID != "" && ns.Account == account && match(ns) {
			all = append(all, ns)
		}
		return true
	})
	slices.SortFunc(all, func(x, y *registry.Namespace) int { return strings.Compare(x.ZoneID, y.ZoneID) })
	return all
}

func anyNamespace(*registry.Namespace) bool { return true }

// zone finds the namespace of a zone by the zone's id.
func (r request) zone(now *store.Snapshot, id string) (*registry.Namespace, error) {
	if found := zones(now, r.account, func(ns *registry.Namespace) bool { return ns.ZoneID == id }); len(found) > 0 {
		return found[0], nil
	}
	return nil, notFound("NoSuchHostedZone", "No hosted zone found with ID: %.100s", id)
}

// page returns the first max zones and the following zone, if any.
func page(all []*registry.Namespace, max int) (shown []*registry.Namespace, next *registry.Namespace) {
	if len(all) <= max {
		return all, nil
	}
	return all[:max], all[max]
}

func (a *API) hostedZones(now *store.Snapshot, some []*registry.Namespace) (out hostedZones) {
	for _, ns := range some {
		out.HostedZone = append(out.HostedZone, a.hostedZone(now, ns))
	}
	return out
}

type listHostedZonesOutput struct {
	HostedZones hostedZones
	Marker      string
	IsTruncated bool
	NextMarker  string `xml:",omitempty"`
	MaxItems    int
}

// listHostedZones begins with the zone of the marker, or with the next zone if that was deleted.
func (a *API) listHostedZones(r request) (any, error) {
	max, err := r.maxItems(maxZones)
	if err != nil {
		return nil, err
	}
	if set := r.query.Get("delegationsetid"); set != "" {
		return nil, &awsapi.Error{Code: "NoSuchDelegationSet", Message: "This server has no reusable delegation sets."}
	}
	kind := r.query.Get("hostedzonetype")
	if kind != "" && kind != privateOnly {
		return nil, invalid("HostedZoneType must be %s or absent, not %.100q", privateOnly, kind)
	}
	snapshot, marker := a.db.Snapshot(), plainZone(r.query.Get("marker"))
	shown, next := page(zones(snapshot, r.account, func(ns *registry.Namespace) bool {
		return ns.ZoneID >= marker && (kind == "" || ns.Kind == registry.Private)
	}), max)
	out := listHostedZonesOutput{HostedZones: a.hostedZones(snapshot, shown), Marker: marker, MaxItems: max}
	if next != nil {
		out.IsTruncated, out.NextMarker = true, next.ZoneID
	}
	return out, nil
}

// plainZone returns a zone's id without its type, which requests may include.
func plainZone(id string) string { return strings.TrimPrefix(id, zonePrefix) }

type listHostedZonesByNameOutput struct {
	HostedZones      hostedZones
	DNSName          string `xml:",omitempty"`
	HostedZoneID     string `xml:"HostedZoneId,omitempty"`
	IsTruncated      bool
	NextDNSName      string `xml:",omitempty"`
	NextHostedZoneID string `xml:"NextHostedZoneId,omitempty"`
	MaxItems         int
}

// listHostedZonesByName uses name and id as the start of the list, not as a filter.
func (a *API) listHostedZonesByName(r request) (any, error) {
	max, err := r.maxItems(maxZones)
	if err != nil {
		return nil, err
	}
	name, id := r.query.Get("dnsname"), plainZone(r.query.Get("hostedzoneid"))
	if name == "" && id != "" {
		return nil, invalid("HostedZoneId requires a DNSName")
	}
	folded, err := parseName(name)
	if err != nil {
		return nil, err
	}
	type keyed struct {
		key string
		ns  *registry.Namespace
	}
	order := func(x, y keyed) int {
		return cmp.Or(strings.Compare(x.key, y.key), strings.Compare(x.ns.ZoneID, y.ns.ZoneID))
	}
	first := keyed{sortKey(folded), &registry.Namespace{ZoneID: id}}
	snapshot := a.db.Snapshot()
	var from []keyed
	for _, ns := range zones(snapshot, r.account, anyNamespace) {
		if k := (keyed{sortKey(directory.CanonicalName(ns.Name)), ns}); order(k, first) >= 0 {
			from = append(from, k)
		}
	}
	slices.SortFunc(from, order)
	var all []*registry.Namespace
	for _, k := range from {
		all = append(all, k.ns)
	}
	shown, next := page(all, max)
	out := listHostedZonesByNameOutput{HostedZones: a.hostedZones(snapshot, shown), DNSName: name, HostedZoneID: id,
		MaxItems: max}
	if next != nil {
		out.IsTruncated, out.NextDNSName, out.NextHostedZoneID = true, formatName(
			directory.CanonicalName(next.Name)), next.ZoneID
	}
	return out, nil
}

type zoneSummary struct {
	HostedZoneID  string `xml:"HostedZoneId"`
	Name          string
	OwningAccount string `xml:"Owner>OwningAccount"`
}

type listHostedZonesByVPCOutput struct {
	HostedZoneSummaries struct {
		HostedZoneSummary []zoneSummary
	}
	MaxItems  int
	NextToken *string
}

func (a *API) listHostedZonesByVPC(r request) (any, error) {
	const operation = "ListHostedZonesByVPC"
	max, err := r.maxItems(maxZones)
	if err != nil {
		return nil, err
	}
	id, region := r.query.Get("vpcid"), r.query.Get("vpcregion")
	if id == "" || region == "" {
		return nil, invalid("VPCId and VPCRegion are required")
	}
	after, ok := paging.After(operation, r.query.Get("nexttoken"))
	if !ok {
		return nil, &awsapi.Error{Code: "InvalidPaginationToken",
			Message: "NextToken is not a token of this operation."}
	}
	list := paging.New[zoneSummary](max)
	for _, ns := range zones(a.db.Snapshot(), r.account, func(ns *registry.Namespace) bool {
		return ns.Kind == registry.Private && ns.VPC == id && ns.Region == region && ns.ZoneID > after
	}) {
		if !list.Add(ns.ZoneID, zoneSummary{ns.ZoneID, formatName(directory.CanonicalName(ns.Name)), ns.Account}) {
			break
		}
	}
	out := listHostedZonesByVPCOutput{MaxItems: max, NextToken: list.Next(operation)}
	out.HostedZoneSummaries.HostedZoneSummary = list.Items
	return out, nil
}

type vpc struct {
	VPCRegion string
	VPCID     string `xml:"VPCId"`
}

type getHostedZoneOutput struct {
	HostedZone    hostedZone
	DelegationSet *delegationSet // of a public zone
	VPCs          *vpcs          // of a private zone
}

type delegationSet struct {
	NameServers []string `xml:"NameServers>NameServer"` // without trailing dots
}

type vpcs struct{ VPC []vpc }

func (a *API) getHostedZone(r request) (any, error) {
	snapshot := a.db.Snapshot()
	ns, err := r.zone(snapshot, r.path[0])
	if err != nil {
		return nil, err
	}
	out := getHostedZoneOutput{HostedZone: a.hostedZone(snapshot, ns)}
	if ns.Kind == registry.Private {
		out.VPCs = &vpcs{[]vpc{{ns.Region, ns.VPC}}}
	} else {
		out.DelegationSet = &delegationSet{a.nameServers()}
	}
	return out, nil
}

func (a *API) getHostedZoneCount(r request) (any, error) {
	return struct{ HostedZoneCount int }{len(zones(a.db.Snapshot(), r.account, anyNamespace))}, nil
}

package route53_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	r53 "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
)

// several is a set of zones in two regions, and a namespace without a zone.
const several = `
zone b.local vpc-1 eu-west-1
web A 60
  i-1 IPV4=10.0.0.1
zone a.local vpc-2 eu-west-1
zone a-b.local vpc-1 us-east-1
zone example.com - us-east-1
zone api http eu-west-1
`

func names(zones []types.HostedZone) string {
	var all []string
	for _, z := range zones {
		all = append(all, *z.Name)
	}
	return strings.Join(all, " ")
}

// TestGetHostedZone checks a zone and its namespace's properties, for all regions of the request and for ids with and
// without their type.
func TestGetHostedZone(t *testing.T) {
	w := newWorld(t, several)
	ctx := t.Context()
	for _, region := range []string{"us-east-1", "eu-west-1"} {
		for _, id := range []string{*w.zoneID("b.local"), strings.TrimPrefix(*w.zoneID("b.local"), "/hostedzone/")} {
			out := apitest.Must(w.client(apitest.InRegion(region), apitest.As(apitest.ReadOnly)).GetHostedZone(ctx,
				&r53.GetHostedZoneInput{Id: &id}))(t)
			z := out.HostedZone
			if *z.Id != *w.zoneID("b.local") || *z.Name != "b.local." ||
				*z.CallerReference != w.namespaces["b.local"] ||
				*z.Config.Comment != "Created by AWS Cloud Map namespace with ARN "+w.arn("b.local") ||
				!z.Config.PrivateZone || *z.ResourceRecordSetCount != 3 ||
				*z.LinkedService.ServicePrincipal != "servicediscovery.amazonaws.com" ||
				*z.LinkedService.Description != w.arn("b.local") {
				t.Errorf("the zone: %+v %+v %+v", z, z.Config, z.LinkedService)
			}
			if len(out.VPCs) != 1 || *out.VPCs[0].VPCId != "vpc-1" || out.VPCs[0].VPCRegion != "eu-west-1" ||
				out.DelegationSet != nil {
				t.Errorf("a private zone's VPCs: %+v, and delegation set %+v", out.VPCs, out.DelegationSet)
			}
		}
	}
	out := apitest.Must(w.GetHostedZone(ctx, &r53.GetHostedZoneInput{Id: w.zoneID("example.com")}))(t)
	if out.HostedZone.Config.PrivateZone || out.VPCs != nil ||
		!slices.Equal(out.DelegationSet.NameServers, []string{"ns.rollcall.invalid"}) {
		t.Errorf("a public zone: %+v %+v %+v", out.HostedZone.Config, out.VPCs, out.DelegationSet)
	}
	if n := *apitest.Must(w.GetHostedZoneCount(ctx, nil))(t).HostedZoneCount; n != 4 {
		t.Errorf("HostedZoneCount is %d, want 4", n)
	}
}

// TestWire checks the exact XML of responses. Empty lists must be present, because clients index them.
func TestWire(t *testing.T) {
	w := newWorld(t, "")
	apitest.Must(w.ListHostedZones(t.Context(), nil))(t)
	const empty = `<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
		`<ListHostedZonesResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><HostedZones></HostedZones>` +
		`<Marker></Marker><IsTruncated>false</IsTruncated><MaxItems>100</MaxItems></ListHostedZonesResponse>`
	if w.body.last != empty {
		t.Errorf("no zones:\n%s\nwant\n%s", w.body.last, empty)
	}
	w.load("zone b.local vpc-1 eu-west-1\nweb A 0\n  i-1 IPV4=10.0.0.1")
	apitest.Must(w.ListResourceRecordSets(t.Context(), &r53.ListResourceRecordSetsInput{
		HostedZoneId: w.zoneID("b.local"), StartRecordName: s("web.b.local")}))(t)
	const one = `<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
		`<ListResourceRecordSetsResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/">` +
		`<ResourceRecordSets><ResourceRecordSet>` +
		`<Name>web.b.local.</Name><Type>A</Type><SetIdentifier>i-1</SetIdentifier>` +
		`<MultiValueAnswer>true</MultiValueAnswer><TTL>0</TTL>` +
		`<ResourceRecords><ResourceRecord><Value>10.0.0.1</Value></ResourceRecord></ResourceRecords>` +
		`</ResourceRecordSet></ResourceRecordSets>` +
		`<IsTruncated>false</IsTruncated><MaxItems>300</MaxItems></ListResourceRecordSetsResponse>`
	if w.body.last != one {
		t.Errorf("one record set:\n%s\nwant\n%s", w.body.last, one)
	}
}

// TestListHostedZones lists the zones of all regions, in pages of several sizes.
func TestListHostedZones(t *testing.T) {
	w := newWorld(t, several)
	for _, max := range []int32{1, 3, 4} {
		var all []types.HostedZone
		pages := r53.NewListHostedZonesPaginator(w, &r53.ListHostedZonesInput{MaxItems: &max})
		for pages.HasMorePages() {
			all = append(all, apitest.Must(pages.NextPage(t.Context()))(t).HostedZones...)
		}
		sorted := slices.Sorted(strings.FieldsSeq(names(all)))
		if got := strings.Join(sorted, " "); got != "a-b.local. a.local. b.local. example.com." {
			t.Errorf("pages of %d: %s", max, got)
		}
	}
	private := apitest.Must(w.ListHostedZones(t.Context(), &r53.ListHostedZonesInput{
		HostedZoneType: types.HostedZoneTypePrivateHostedZone, MaxItems: aws.Int32(1000)}))(t)
	if len(private.HostedZones) != 3 || strings.Contains(names(private.HostedZones), "example.com") ||
		*private.MaxItems != 100 {
		t.Errorf("private zones: %s, MaxItems %d", names(private.HostedZones), *private.MaxItems)
	}
}

// TestListHostedZonesByName checks that the list starts at the name, ordered by labels from the last to the first.
func TestListHostedZonesByName(t *testing.T) {
	w := newWorld(t, several)
	for _, tc := range []struct{ from, want string }{
		{"", "example.com. a-b.local. a.local. b.local."},
		{"example.com", "example.com. a-b.local. a.local. b.local."},
		{"a.local.", "a.local. b.local."},
		{"www.A.local", "b.local."},
		{"z.local", ""},
	} {
		in := &r53.ListHostedZonesByNameInput{MaxItems: aws.Int32(1)}
		if tc.from != "" {
			in.DNSName = &tc.from
		}
		var all []types.HostedZone
		for {
			out := apitest.Must(w.ListHostedZonesByName(t.Context(), in))(t)
			if aws.ToString(out.DNSName) != aws.ToString(in.DNSName) ||
				aws.ToString(out.HostedZoneId) != aws.ToString(in.HostedZoneId) {
				t.Errorf("the list from %v %v says that it begins at %v %v", in.DNSName, in.HostedZoneId, out.DNSName,
					out.HostedZoneId)
			}
			all = append(all, out.HostedZones...)
			if !out.IsTruncated {
				break
			}
			in.DNSName, in.HostedZoneId = out.NextDNSName, out.NextHostedZoneId
		}
		if names(all) != tc.want {
			t.Errorf("from %q: %s, want %s", tc.from, names(all), tc.want)
		}
	}
}

func TestListHostedZonesByVPC(t *testing.T) {
	w := newWorld(t, several+"zone c.local vpc-1 eu-west-1\n")
	for _, tc := range []struct{ vpc, region, want string }{
		{"vpc-1", "eu-west-1", "b.local. c.local."},
		{"vpc-1", "us-east-1", "a-b.local."},
		{"vpc-2", "us-east-1", ""},
	} {
		in := &r53.ListHostedZonesByVPCInput{VPCId: &tc.vpc, VPCRegion: types.VPCRegion(tc.region),
			MaxItems: aws.Int32(1)}
		var all []string
		for {
			out := apitest.Must(w.ListHostedZonesByVPC(t.Context(), in))(t)
			for _, z := range out.HostedZoneSummaries {
				if *z.Owner.OwningAccount != apitest.Account || strings.Contains(*z.HostedZoneId, "/") {
					t.Errorf("%s: owner %s, id %s", *z.Name, *z.Owner.OwningAccount, *z.HostedZoneId)
				}
				all = append(all, *z.Name)
			}
			if in.NextToken = out.NextToken; in.NextToken == nil {
				break
			}
		}
		slices.Sort(all)
		if got := strings.Join(all, " "); got != tc.want {
			t.Errorf("%s in %s: %s, want %s", tc.vpc, tc.region, got, tc.want)
		}
	}
}

// TestFixedOperations checks operations that tools call although the result is always the same.
func TestFixedOperations(t *testing.T) {
	w := newWorld(t, several)
	ctx := t.Context()
	id := strings.TrimPrefix(*w.zoneID("b.local"), "/hostedzone/")
	tags := apitest.Must(w.ListTagsForResource(ctx, &r53.ListTagsForResourceInput{
		ResourceType: types.TagResourceTypeHostedzone, ResourceId: &id}))(t).ResourceTagSet
	if tags.ResourceType != types.TagResourceTypeHostedzone || *tags.ResourceId != id || tags.Tags == nil ||
		len(tags.Tags) != 0 {
		t.Errorf("tags: %+v", tags)
	}
	other := strings.TrimPrefix(*w.zoneID("a.local"), "/hostedzone/")
	reader := w.client(apitest.InRegion("us-east-1"), apitest.As(apitest.ReadOnly))
	more := apitest.Must(reader.ListTagsForResources(ctx, &r53.ListTagsForResourcesInput{
		ResourceType: types.TagResourceTypeHostedzone, ResourceIds: []string{id, other}}))(t)
	if len(more.ResourceTagSets) != 2 || *more.ResourceTagSets[0].ResourceId != id {
		t.Errorf("tags of two: %+v", more.ResourceTagSets)
	}
	for _, tc := range []struct {
		kind  types.HostedZoneLimitType
		count int64
	}{{types.HostedZoneLimitTypeMaxRrsetsByZone, 3}, {types.HostedZoneLimitTypeMaxVpcsAssociatedByZone, 1}} {
		out := apitest.Must(w.GetHostedZoneLimit(ctx, &r53.GetHostedZoneLimitInput{HostedZoneId: &id,
			Type: tc.kind}))(t)
		if out.Count != tc.count || *out.Limit.Value < out.Count || out.Limit.Type != tc.kind {
			t.Errorf("%s: %d of %d", tc.kind, out.Count, *out.Limit.Value)
		}
	}
	for _, kind := range types.AccountLimitType("").Values() {
		out := apitest.Must(w.GetAccountLimit(ctx, &r53.GetAccountLimitInput{Type: kind}))(t)
		want := int64(0)
		if kind == types.AccountLimitTypeMaxHostedZonesByOwner {
			want = 4
		}
		if out.Count != want || *out.Limit.Value < 1 {
			t.Errorf("%s: %d of %d", kind, out.Count, *out.Limit.Value)
		}
	}
	dnssec := apitest.Must(w.GetDNSSEC(ctx, &r53.GetDNSSECInput{HostedZoneId: &id}))(t)
	if *dnssec.Status.ServeSignature != "NOT_SIGNING" || len(dnssec.KeySigningKeys) != 0 {
		t.Errorf("DNSSEC: %+v", dnssec)
	}
}

// TestErrors checks the errors of invalid and rejected requests, and that the SDK returns its own types for them.
func TestErrors(t *testing.T) {
	w := newWorld(t, several)
	ctx := t.Context()
	zone, unknown := w.zoneID("b.local"), s("Z0UNKNOWN")
	id := strings.TrimPrefix(*zone, "/hostedzone/")
	managed := fmt.Sprintf("403 AccessDenied: The resource hostedzone/%s can only be managed through AWS Cloud Map (%s)",
		id, w.arn("b.local"))
	change := &types.ChangeBatch{Changes: []types.Change{{Action: types.ChangeActionUpsert,
		ResourceRecordSet: &types.ResourceRecordSet{
			Name: s("x.b.local"), Type: types.RRTypeA, TTL: aws.Int64(1),
			ResourceRecords: []types.ResourceRecord{{Value: s("10.0.0.1")}}}}}}
	vpc := &types.VPC{VPCId: s("vpc-2"), VPCRegion: "eu-west-1"}
	records := func(in r53.ListResourceRecordSetsInput) error {
		if in.HostedZoneId == nil {
			in.HostedZoneId = zone
		}
		_, err := w.ListResourceRecordSets(ctx, &in)
		return err
	}
	for _, tc := range []struct {
		name string
		call func() error
		want string // a prefix
	}{
		{"unknown zone", func() error {
			_, err := w.GetHostedZone(ctx, &r53.GetHostedZoneInput{Id: unknown})
			return err
		}, "404 NoSuchHostedZone: No hosted zone found with ID: Z0UNKNOWN"},
		{"records of an unknown zone", func() error {
			return records(r53.ListResourceRecordSetsInput{HostedZoneId: unknown})
		}, "404 NoSuchHostedZone"},
		{"MaxItems 0", func() error { return records(r53.ListResourceRecordSetsInput{MaxItems: aws.Int32(0)}) },
			"400 InvalidInput: MaxItems"},
		{"MaxItems below 0", func() error {
			_, err := w.ListHostedZones(ctx, &r53.ListHostedZonesInput{MaxItems: aws.Int32(-1)})
			return err
		}, "400 InvalidInput: MaxItems"},
		{"type without name", func() error { return records(r53.ListResourceRecordSetsInput{StartRecordType: "A"}) },
			"400 InvalidInput: StartRecordType requires"},
		{"identifier without type", func() error {
			return records(r53.ListResourceRecordSetsInput{StartRecordName: s("b.local"),
				StartRecordIdentifier: s("x")})
		}, "400 InvalidInput: StartRecordIdentifier requires"},
		{"unknown type", func() error {
			return records(r53.ListResourceRecordSetsInput{StartRecordName: s("b.local"), StartRecordType: "WKS"})
		}, "400 InvalidInput: StartRecordType"},
		{"invalid escape", func() error {
			return records(r53.ListResourceRecordSetsInput{StartRecordName: s(`b\9.local`)})
		}, "400 InvalidInput: The domain name"},
		{"delegation sets", func() error {
			_, err := w.ListHostedZones(ctx, &r53.ListHostedZonesInput{DelegationSetId: s("N1")})
			return err
		}, "400 NoSuchDelegationSet"},
		{"zone type", func() error {
			_, err := w.ListHostedZones(ctx, &r53.ListHostedZonesInput{HostedZoneType: "Public"})
			return err
		}, "400 InvalidInput"},
		{"zone id without name", func() error {
			_, err := w.ListHostedZonesByName(ctx, &r53.ListHostedZonesByNameInput{HostedZoneId: zone})
			return err
		}, "400 InvalidInput"},
		{"zones without a VPC", func() error {
			_, err := w.ListHostedZonesByVPC(ctx, &r53.ListHostedZonesByVPCInput{VPCId: s(""), VPCRegion: "eu-west-1"})
			return err
		}, "400 InvalidInput"},
		{"unknown token", func() error {
			_, err := w.ListHostedZonesByVPC(ctx, &r53.ListHostedZonesByVPCInput{VPCId: s("vpc-1"),
				VPCRegion: "eu-west-1", NextToken: s("AAAA")})
			return err
		}, "400 InvalidPaginationToken"},
		{"question outside the zone", func() error {
			_, err := w.TestDNSAnswer(ctx, &r53.TestDNSAnswerInput{HostedZoneId: zone, RecordName: s("web.a.local"),
				RecordType: "A"})
			return err
		}, "400 InvalidInput: RecordName"},
		{"question of an unknown type", func() error {
			_, err := w.TestDNSAnswer(ctx, &r53.TestDNSAnswerInput{HostedZoneId: zone, RecordName: s("web.b.local"),
				RecordType: "ANY"})
			return err
		}, "400 InvalidInput: RecordType"},
		{"question of an invalid client", func() error {
			_, err := w.TestDNSAnswer(ctx, &r53.TestDNSAnswerInput{HostedZoneId: zone, RecordName: s("web.b.local"),
				RecordType: "A", ResolverIP: s("localhost")})
			return err
		}, "400 InvalidInput"},
		{"get a change", func() error { _, err := w.GetChange(ctx, &r53.GetChangeInput{Id: s("/change/C1")}); return err },
			"404 NoSuchChange"},
		{"tags of an unknown zone", func() error {
			_, err := w.ListTagsForResources(ctx, &r53.ListTagsForResourcesInput{ResourceType: "hostedzone",
				ResourceIds: []string{id, *unknown}})
			return err
		}, "404 NoSuchHostedZone"},
		{"tags of a health check", func() error {
			_, err := w.ListTagsForResource(ctx, &r53.ListTagsForResourceInput{ResourceType: "healthcheck",
				ResourceId: s("x")})
			return err
		}, "404 NoSuchHealthCheck"},
		{"tags of no resource", func() error {
			_, err := w.ListTagsForResources(ctx, &r53.ListTagsForResourcesInput{ResourceType: "hostedzone",
				ResourceIds: []string{}})
			return err
		}, "400 InvalidInput"},
		{"VPCs of a public zone", func() error {
			_, err := w.GetHostedZoneLimit(ctx, &r53.GetHostedZoneLimitInput{HostedZoneId: w.zoneID("example.com"),
				Type: "MAX_VPCS_ASSOCIATED_BY_ZONE"})
			return err
		}, "400 HostedZoneNotPrivate"},
		{"unknown limit", func() error {
			_, err := w.GetAccountLimit(ctx, &r53.GetAccountLimitInput{Type: "MAX"})
			return err
		}, "400 InvalidInput"},
		{"unsupported operation", func() error {
			_, err := w.ListTrafficPolicies(ctx, nil)
			return err
		}, "404 UnknownOperationException: GET \"/2013-04-01/trafficpolicies\" is not an operation"},

		{"change records", func() error {
			_, err := w.ChangeResourceRecordSets(ctx, &r53.ChangeResourceRecordSetsInput{HostedZoneId: zone,
				ChangeBatch: change})
			return err
		}, managed},
		{"change records of an unknown zone", func() error {
			_, err := w.ChangeResourceRecordSets(ctx, &r53.ChangeResourceRecordSetsInput{HostedZoneId: unknown,
				ChangeBatch: change})
			return err
		}, "404 NoSuchHostedZone"},
		{"delete the zone", func() error {
			_, err := w.DeleteHostedZone(ctx, &r53.DeleteHostedZoneInput{Id: zone})
			return err
		}, managed},
		{"change the comment of the zone", func() error {
			_, err := w.UpdateHostedZoneComment(ctx, &r53.UpdateHostedZoneCommentInput{Id: zone, Comment: s("x")})
			return err
		}, managed},
		{"associate a VPC", func() error {
			_, err := w.AssociateVPCWithHostedZone(ctx, &r53.AssociateVPCWithHostedZoneInput{HostedZoneId: zone,
				VPC: vpc})
			return err
		}, managed},
		{"disassociate a VPC", func() error {
			_, err := w.DisassociateVPCFromHostedZone(ctx,
				&r53.DisassociateVPCFromHostedZoneInput{HostedZoneId: zone, VPC: vpc})
			return err
		}, managed},
		{"create a zone", func() error {
			_, err := w.CreateHostedZone(ctx, &r53.CreateHostedZoneInput{Name: s("x.local"), CallerReference: s("x"),
				VPC: vpc})
			return err
		}, "403 AccessDenied: Hosted zones"},
		{"create a health check", func() error {
			_, err := w.CreateHealthCheck(ctx, &r53.CreateHealthCheckInput{CallerReference: s("x"),
				HealthCheckConfig: &types.HealthCheckConfig{Type: "TCP"}})
			return err
		}, "403 AccessDenied: Health checks"},
		{"tag the zone", func() error {
			_, err := w.ChangeTagsForResource(ctx, &r53.ChangeTagsForResourceInput{ResourceType: "hostedzone",
				ResourceId: &id, AddTags: []types.Tag{{Key: s("k"), Value: s("v")}}})
			return err
		}, "403 AccessDenied: Hosted zones can only be tagged"},
		{"change records with a read-only key", func() error {
			reader := w.client(apitest.InRegion("us-east-1"), apitest.As(apitest.ReadOnly))
			_, err := reader.ChangeResourceRecordSets(ctx, &r53.ChangeResourceRecordSetsInput{HostedZoneId: zone,
				ChangeBatch: change})
			return err
		}, "403 AccessDenied: Access key AKIAREAD"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.call()
			if err == nil {
				t.Fatal("the call succeeded")
			}
			if got := errorText(t, err); !strings.HasPrefix(got, tc.want) {
				t.Errorf("%s\nwant %s", got, tc.want)
			}
		})
	}

	_, err := w.GetHostedZone(ctx, &r53.GetHostedZoneInput{Id: unknown})
	if typed := (*types.NoSuchHostedZone)(nil); !errors.As(err, &typed) {
		t.Errorf("got %T, want NoSuchHostedZone", err)
	}
	if typed := (*types.InvalidInput)(nil); !errors.As(
		records(r53.ListResourceRecordSetsInput{MaxItems: aws.Int32(0)}), &typed) {
		t.Error("want InvalidInput for MaxItems 0")
	}
	wrongSecret := apitest.Administrator
	wrongSecret.Secret = "x"
	_, err = w.client(apitest.InRegion("us-east-1"), apitest.As(wrongSecret)).GetHostedZoneCount(ctx, nil)
	if got := errorText(t, err); !strings.HasPrefix(got, "403 SignatureDoesNotMatch") {
		t.Error(got)
	}
}

package cloudmap_test

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/google/go-cmp/cmp"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
)

// TestUpdateNamespace checks that description and SOA TTL can be changed separately, and that DNS uses the new TTL.
func TestUpdateNamespace(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	private, public := w.privateNamespace("shop.local", "vpc-1"), w.publicNamespace("shop.example")
	state := func(id string) string {
		ns := apitest.Must(w.GetNamespace(ctx, &sd.GetNamespaceInput{Id: &id}))(t).Namespace
		soa := "none"
		if p := ns.Properties.DnsProperties.SOA; p != nil {
			soa = fmt.Sprint(*p.TTL)
		}
		return aws.ToString(ns.Description) + "/" + soa
	}
	ttl := func(seconds int64) *types.SOAChange { return &types.SOAChange{TTL: &seconds} }
	updatePrivate := func(c *types.PrivateDnsNamespaceChange) {
		t.Helper()
		w.operation(apitest.Must(w.UpdatePrivateDnsNamespace(ctx, &sd.UpdatePrivateDnsNamespaceInput{Id: &private,
			Namespace: c}))(t).OperationId)
	}
	updatePrivate(&types.PrivateDnsNamespaceChange{Description: s("d")})
	if got := state(private); got != "d/none" {
		t.Errorf("after the description: %s", got)
	}
	updatePrivate(&types.PrivateDnsNamespaceChange{Properties: &types.PrivateDnsNamespacePropertiesChange{
		DnsProperties: &types.PrivateDnsPropertiesMutableChange{SOA: ttl(77)}}})
	if got := state(private); got != "d/77" {
		t.Errorf("after the TTL: %s", got)
	}
	zone, ok := w.dir.Zone(netip.MustParseAddr("127.0.0.1"), "shop.local")
	if !ok || zone.Namespace().NegativeTTL != 77 {
		t.Errorf("DNS does not show the change: %+v", zone)
	}
	updatePrivate(&types.PrivateDnsNamespaceChange{Description: s("")})
	if got := state(private); got != "/77" {
		t.Errorf("after an empty description: %s", got)
	}
	w.operation(apitest.Must(w.UpdatePublicDnsNamespace(ctx, &sd.UpdatePublicDnsNamespaceInput{Id: &public,
		Namespace: &types.PublicDnsNamespaceChange{
			Properties: &types.PublicDnsNamespacePropertiesChange{
				DnsProperties: &types.PublicDnsPropertiesMutableChange{SOA: ttl(0)}}}}))(t).OperationId)
	if got := state(public); got != "/0" {
		t.Errorf("public: %s", got)
	}
}

// TestUpdateService checks that TTLs and health checks can be changed, but types and policies cannot.
func TestUpdateService(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	public := w.publicNamespace("shop.example")
	svc := w.service(public, "cart", "A 10, SRV 20, http")
	custom := w.service(public, "custom", "A 10, custom")
	change := func(id, what string, description *string) error {
		var in sd.CreateServiceInput
		shape(&in, what)
		c := &types.ServiceChange{Description: description, HealthCheckConfig: in.HealthCheckConfig}
		if in.DnsConfig != nil {
			c.DnsConfig = &types.DnsConfigChange{DnsRecords: in.DnsConfig.DnsRecords}
		}
		out, err := w.UpdateService(ctx, &sd.UpdateServiceInput{Id: &id, Service: c})
		if err == nil {
			op := w.operation(out.OperationId)
			if op.Type != types.OperationTypeUpdateService ||
				!maps.Equal(op.Targets, map[string]string{"SERVICE": id}) {
				t.Errorf("operation %+v", op)
			}
		}
		return err
	}
	state := func(id string) string {
		svc := apitest.Must(w.GetService(ctx, &sd.GetServiceInput{Id: &id}))(t).Service
		text := aws.ToString(svc.Description)
		for _, r := range svc.DnsConfig.DnsRecords {
			text += fmt.Sprintf(" %s %d", r.Type, *r.TTL)
		}
		if h := svc.HealthCheckConfig; h != nil {
			text += fmt.Sprintf(" %s", h.Type)
		}
		if svc.HealthCheckCustomConfig != nil {
			text += " custom"
		}
		return text
	}
	for _, tc := range []struct {
		id, what    string
		description *string
		err, want   string
	}{
		{svc, "A 5, SRV 6, http", s("d"), "", "d A 5 SRV 6 HTTP"},
		{svc, "SRV 8, A 7, http", nil, "", "d SRV 8 A 7 HTTP"},
		{svc, "http", nil, "", "d SRV 8 A 7 HTTP"},
		{svc, "tcp", nil, "InvalidInput: Type of health check cannot be changed", "d SRV 8 A 7 HTTP"},
		{svc, "A 5", nil,
			"InvalidInput: The record types in the request must be the same as those present in the " +
				"existing service. Records in the existing service are [A, SRV], " +
				"but the records in the request are [A].", "d SRV 8 A 7 HTTP"},
		{svc, "", nil, "", "d SRV 8 A 7"}, // an omitted health check is removed
		{svc, "tcp", nil, "", "d SRV 8 A 7 TCP"},
		{custom, "http", nil, "InvalidInput: Specify HealthCheckConfig or HealthCheckCustomConfig, but not both",
			" A 10 custom"},
		{custom, "A 0", nil, "", " A 0 custom"},
		{"srv-x", "", nil, "ServiceNotFound: Failed to find service: srv-x", ""},
	} {
		err := change(tc.id, tc.what, tc.description)
		if got := describe(err); (err != nil || tc.err != "") && got != tc.err {
			t.Errorf("%s of %s: %s, want %q", tc.what, tc.id, got, tc.err)
		}
		if tc.want != "" {
			if got := state(tc.id); got != tc.want {
				t.Errorf("after %q: %q, want %q", tc.what, got, tc.want)
			}
		}
	}
	v, ok := w.dir.ServiceByID(custom)
	if ttl, has := v.Service.TTL(1); !ok || !has || ttl != 0 {
		t.Errorf("DNS does not show the change: %+v", v.Service)
	}
}

// TestServiceAttributes checks that updates merge attributes, up to 30, and that they are deleted with the service.
func TestServiceAttributes(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ns := w.httpNamespace("shop")
	svc := w.service(ns, "cart", "")
	get := func() map[string]string {
		out := apitest.Must(w.GetServiceAttributes(ctx,
			&sd.GetServiceAttributesInput{ServiceId: &svc}))(t).ServiceAttributes
		if aws.ToString(out.ServiceArn) != arns+"service/"+svc || aws.ToString(out.ResourceOwner) != apitest.Account {
			t.Errorf("attributes of %+v", out)
		}
		return out.Attributes
	}
	put := func(m map[string]string) error {
		_, err := w.UpdateServiceAttributes(ctx, &sd.UpdateServiceAttributesInput{ServiceId: &svc, Attributes: m})
		return err
	}
	if got := get(); got == nil || len(got) != 0 {
		t.Errorf("attributes of a new service: %v", got)
	}
	many := map[string]string{}
	for i := range 29 {
		many[fmt.Sprint("k", i)] = "v"
	}
	if err := errors.Join(put(map[string]string{"a": "1"}), put(map[string]string{"a": "2"}), put(many)); err != nil {
		t.Fatal(err)
	}
	many["a"] = "2"
	if d := cmp.Diff(many, get()); d != "" {
		t.Errorf("after thirty (-want +got):\n%s", d)
	}
	if err := put(map[string]string{"a": "3",
		"b": "1"}); apitest.ErrorCode(err) != "ServiceAttributesLimitExceededException" {
		t.Errorf("one more: %v", err)
	}
	apitest.Must(w.DeleteServiceAttributes(ctx, &sd.DeleteServiceAttributesInput{ServiceId: &svc,
		Attributes: []string{"k0", "unknown"}}))(t)
	delete(many, "k0")
	if d := cmp.Diff(many, get()); d != "" {
		t.Errorf("after a deletion (-want +got):\n%s", d)
	}
	if err := put(map[string]string{}); apitest.ErrorCode(err) != "InvalidInput" {
		t.Errorf("no attributes: %v", err)
	}
	apitest.Must(w.DeleteService(ctx, &sd.DeleteServiceInput{Id: &svc}))(t)
	if _, err := w.GetServiceAttributes(ctx,
		&sd.GetServiceAttributesInput{ServiceId: &svc}); apitest.ErrorCode(err) != "ServiceNotFound" {
		t.Errorf("attributes of a deleted service: %v", err)
	}
}

// TestTags checks that 50 tags are accepted, and that another tag is rejected and changes nothing.
func TestTags(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	tags := func(from, to int) (list []types.Tag) {
		for i := from; i < to; i++ {
			list = append(list, types.Tag{Key: s(fmt.Sprintf("k%02d", i)), Value: s("v")})
		}
		return list
	}
	out := apitest.Must(w.CreateHttpNamespace(ctx, &sd.CreateHttpNamespaceInput{Name: s("shop"), Tags: tags(0, 10)}))(t)
	ns := w.operation(out.OperationId).Targets["NAMESPACE"]
	svc := apitest.Must(w.CreateService(ctx, &sd.CreateServiceInput{Name: s("cart"), NamespaceId: &ns,
		Tags: tags(0, 10)}))(t).Service
	for _, arn := range []string{arns + "namespace/" + ns, *svc.Arn} {
		count := func() int {
			return len(apitest.Must(w.ListTagsForResource(ctx,
				&sd.ListTagsForResourceInput{ResourceARN: &arn}))(t).Tags)
		}
		tag := func(list []types.Tag) error {
			_, err := w.TagResource(ctx, &sd.TagResourceInput{ResourceARN: &arn, Tags: list})
			return err
		}
		if n := count(); n != 10 {
			t.Errorf("%s is created with %d tags", arn, n)
		}
		if err := tag(tags(5, 50)); err != nil || count() != 50 {
			t.Errorf("fifty: %v, %d", err, count())
		}
		err := tag(tags(49, 51))
		var tooMany *types.TooManyTagsException
		if !errors.As(err, &tooMany) || aws.ToString(tooMany.ResourceName) != arn || count() != 50 {
			t.Errorf("fifty-one: %v, %d", err, count())
		}
		if err := tag(tags(0, 51)); apitest.ErrorCode(err) != "TooManyTagsException" {
			t.Errorf("fifty-one in one request: %v", err)
		}
		if err := tag(append(tags(0, 1), tags(0, 1)...)); apitest.ErrorCode(err) != "InvalidInput" {
			t.Errorf("the same key twice: %v", err)
		}
		if err := tag([]types.Tag{{Key: s("aws:x"), Value: s("")}}); apitest.ErrorCode(err) != "InvalidInput" {
			t.Errorf("a reserved key: %v", err)
		}
		apitest.Must(w.UntagResource(ctx, &sd.UntagResourceInput{ResourceARN: &arn,
			TagKeys: []string{"k00", "k01", "unknown"}}))(t)
		if n := count(); n != 48 {
			t.Errorf("%d tags remain, want 48", n)
		}
	}
	apitest.Must(w.DeleteService(ctx, &sd.DeleteServiceInput{Id: svc.Id}))(t)
	if _, err := w.TagResource(ctx, &sd.TagResourceInput{ResourceARN: svc.Arn,
		Tags: tags(0, 1)}); apitest.ErrorCode(err) != "ResourceNotFoundException" {
		t.Errorf("tag a deleted service: %v", err)
	}
}

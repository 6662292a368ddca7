package cloudmap_test

//lint:file-ignore SA1019 clients still send, and read, the members that AWS calls deprecated.

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/aws/smithy-go/middleware"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
)

var plain = cmp.Options{
	cmpopts.IgnoreTypes(middleware.Metadata{}),
	cmp.FilterPath(func(p cmp.Path) bool { return strings.Contains(p.Last().String(), "noSmithy") }, cmp.Ignore()),
}

// TestGetNamespace checks the response of GetNamespace for each kind of namespace. ListNamespaces returns the same
// without the CreatorRequestId.
func TestGetNamespace(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	for _, tc := range []struct {
		name   string
		create func() (*string, error)
		want   types.Namespace
	}{
		{"http", func() (*string, error) {
			out, err := w.CreateHttpNamespace(ctx, &sd.CreateHttpNamespaceInput{Name: aws.String("shop"),
				CreatorRequestId: aws.String("t1"), Description: aws.String("the shop")})
			return out.OperationId, err
		}, types.Namespace{
			Name: aws.String("shop"), Type: types.NamespaceTypeHttp, CreatorRequestId: aws.String("t1"),
			Description: aws.String("the shop"),
			Properties: &types.NamespaceProperties{DnsProperties: &types.DnsProperties{},
				HttpProperties: &types.HttpProperties{HttpName: aws.String("shop")}},
		}},
		{"private", func() (*string, error) {
			out, err := w.CreatePrivateDnsNamespace(ctx, &sd.CreatePrivateDnsNamespaceInput{
				Name: aws.String("shop.local"), Vpc: aws.String("vpc-1"), CreatorRequestId: aws.String("t2"),
				Properties: &types.PrivateDnsNamespaceProperties{
					DnsProperties: &types.PrivateDnsPropertiesMutable{SOA: &types.SOA{TTL: aws.Int64(15)}}}})
			return out.OperationId, err
		}, types.Namespace{
			Name: aws.String("shop.local"), Type: types.NamespaceTypeDnsPrivate, CreatorRequestId: aws.String("t2"),
			Properties: &types.NamespaceProperties{
				DnsProperties: &types.DnsProperties{HostedZoneId: aws.String("Z"),
					SOA: &types.SOA{TTL: aws.Int64(15)}},
				HttpProperties: &types.HttpProperties{HttpName: aws.String("shop.local")}},
		}},
		{"public", func() (*string, error) {
			out, err := w.CreatePublicDnsNamespace(ctx, &sd.CreatePublicDnsNamespaceInput{
				Name: aws.String("shop.example"), CreatorRequestId: aws.String("t3")})
			return out.OperationId, err
		}, types.Namespace{
			Name: aws.String("shop.example"), Type: types.NamespaceTypeDnsPublic, CreatorRequestId: aws.String("t3"),
			Properties: &types.NamespaceProperties{
				DnsProperties:  &types.DnsProperties{HostedZoneId: aws.String("Z")},
				HttpProperties: &types.HttpProperties{HttpName: aws.String("shop.example")}},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			opID, err := tc.create()
			if err != nil {
				t.Fatal(err)
			}
			op := w.operation(opID)
			id := op.Targets["NAMESPACE"]
			got := apitest.Must(w.GetNamespace(ctx, &sd.GetNamespaceInput{Id: &id}))(t).Namespace
			if !strings.HasPrefix(id, "ns-") || len(id) != 19 {
				t.Errorf("id %q", id)
			}
			if d := got.Properties.DnsProperties; d.HostedZoneId != nil {
				if !strings.HasPrefix(*d.HostedZoneId, "Z") || len(*d.HostedZoneId) < 14 {
					t.Errorf("hosted zone %q", *d.HostedZoneId)
				}
				d.HostedZoneId = aws.String("Z")
			}
			if got.CreateDate == nil || got.CreateDate.Before(apitest.Epoch) ||
				got.CreateDate.After(apitest.Epoch.Add(time.Minute)) {
				t.Errorf("CreateDate %v", got.CreateDate)
			}
			arn := arns + "namespace/" + id
			tc.want.Id, tc.want.Arn, tc.want.CreateDate = &id, &arn, got.CreateDate
			tc.want.ResourceOwner, tc.want.ServiceCount = aws.String(apitest.Account), aws.Int32(0)
			if d := cmp.Diff(&tc.want, got, plain); d != "" {
				t.Errorf("GetNamespace (-want +got):\n%s", d)
			}
			byARN := apitest.Must(w.GetNamespace(ctx, &sd.GetNamespaceInput{Id: &arn}))(t).Namespace
			if *byARN.Id != id {
				t.Errorf("by ARN: %s", *byARN.Id)
			}
			if op.Type != types.OperationTypeCreateNamespace || *op.OwnerAccount != apitest.Account ||
				!op.CreateDate.Equal(*op.UpdateDate) {
				t.Errorf("operation %+v", op)
			}
			w.service(id, "one", "")
			list := apitest.Must(w.ListNamespaces(ctx, &sd.ListNamespacesInput{
				Filters: []types.NamespaceFilter{{Name: "NAME", Values: []string{*got.Name}}}}))(t)
			if len(list.Namespaces) != 1 || *list.Namespaces[0].ServiceCount != 1 || *list.Namespaces[0].Arn != arn {
				t.Errorf("ListNamespaces: %+v", list.Namespaces)
			}
		})
	}
}

// TestGetService checks the responses of CreateService, GetService and ListServices for all kinds of services.
func TestGetService(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	private, public, http := w.privateNamespace("shop.local",
		"vpc-1"), w.publicNamespace("shop.example"), w.httpNamespace("shop")
	records := func(policy types.RoutingPolicy, namespace string, rs ...types.DnsRecord) *types.DnsConfig {
		return &types.DnsConfig{NamespaceId: &namespace, RoutingPolicy: policy, DnsRecords: rs}
	}
	rec := func(typ types.RecordType, ttl int64) types.DnsRecord { return types.DnsRecord{Type: typ, TTL: &ttl} }
	for i, tc := range []struct {
		namespace, what string
		want            types.Service
	}{
		{private, "SRV 60, A 10, custom", types.Service{Type: "DNS_HTTP",
			DnsConfig:               records("MULTIVALUE", private, rec("SRV", 60), rec("A", 10)),
			HealthCheckCustomConfig: &types.HealthCheckCustomConfig{FailureThreshold: aws.Int32(1)}}},
		{private, "CNAME 0, weighted", types.Service{Type: "DNS_HTTP", DnsConfig: records("WEIGHTED", private,
			rec("CNAME", 0))}},
		{public, "AAAA 5, http", types.Service{Type: "DNS_HTTP", DnsConfig: records("MULTIVALUE", public,
			rec("AAAA", 5)),
			HealthCheckConfig: &types.HealthCheckConfig{Type: "HTTP", ResourcePath: aws.String("/"),
				FailureThreshold: aws.Int32(1)}}},
		{public, "A 5, tcp", types.Service{Type: "DNS_HTTP", DnsConfig: records("MULTIVALUE", public, rec("A", 5)),
			HealthCheckConfig: &types.HealthCheckConfig{Type: "TCP", FailureThreshold: aws.Int32(1)}}},
		{private, "", types.Service{Type: "HTTP", DnsConfig: &types.DnsConfig{}}},
		{private, "api", types.Service{Type: "HTTP", DnsConfig: &types.DnsConfig{}}},
		{http, "custom", types.Service{Type: "HTTP", DnsConfig: &types.DnsConfig{},
			HealthCheckCustomConfig: &types.HealthCheckCustomConfig{FailureThreshold: aws.Int32(1)}}},
	} {
		t.Run(tc.what, func(t *testing.T) {
			name := fmt.Sprintf("s%d", i)
			in := &sd.CreateServiceInput{Name: &name, NamespaceId: &tc.namespace, Description: aws.String("d"),
				CreatorRequestId: aws.String(name)}
			shape(in, tc.what)
			made := apitest.Must(w.CreateService(ctx, in))(t).Service
			tc.want.Id, tc.want.CreateDate = made.Id, made.CreateDate
			tc.want.Arn = aws.String(arns + "service/" + *made.Id)
			tc.want.Name, tc.want.Description, tc.want.CreatorRequestId = &name, aws.String("d"), &name
			tc.want.NamespaceId = &tc.namespace
			tc.want.ResourceOwner, tc.want.CreatedByAccount = aws.String(apitest.Account), aws.String(apitest.Account)
			tc.want.InstanceCount = aws.Int32(0)
			if d := cmp.Diff(&tc.want, made, plain); d != "" {
				t.Errorf("CreateService (-want +got):\n%s", d)
			}
			got := apitest.Must(w.GetService(ctx, &sd.GetServiceInput{Id: made.Arn}))(t).Service
			if d := cmp.Diff(made, got, plain); d != "" {
				t.Errorf("GetService by ARN (-created +got):\n%s", d)
			}
			list := apitest.Must(w.ListServices(ctx, &sd.ListServicesInput{Filters: []types.ServiceFilter{
				{Name: "NAMESPACE_ID", Values: []string{tc.namespace}}}}))(t)
			var listed *types.ServiceSummary
			for i := range list.Services {
				if *list.Services[i].Id == *made.Id {
					listed = &list.Services[i]
				}
			}
			if listed == nil {
				t.Fatal("not in ListServices")
			}
			if d := cmp.Diff(made.DnsConfig.DnsRecords, listed.DnsConfig.DnsRecords, plain); d != "" ||
				listed.DnsConfig.NamespaceId != nil {
				t.Errorf("ListServices: %+v", listed.DnsConfig)
			}
		})
	}
}

// TestGetInstance checks that attributes are returned as they were sent, whatever their meaning.
func TestGetInstance(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	svc := w.service(w.privateNamespace("shop.local", "vpc-1"), "cart", "AAAA 10, custom")
	attributes := map[string]string{
		"AWS_INSTANCE_IPV6": "2001:0db8:0000:0000:0000:0000:0000:0001", "AWS_INIT_HEALTH_STATUS": "HEALTHY",
		"empty": "", "kubernetes.io/pod": "a b\tc", "AWS_UNKNOWN": "kept",
	}
	reg := apitest.Must(w.RegisterInstance(ctx, &sd.RegisterInstanceInput{
		ServiceId: &svc, InstanceId: aws.String("a/b:c@d.e_f-g"),
		CreatorRequestId: aws.String("t"), Attributes: attributes}))(t)
	op := w.operation(reg.OperationId)
	if d := cmp.Diff(map[string]string{"SERVICE": svc, "INSTANCE": "a/b:c@d.e_f-g"}, op.Targets); d != "" ||
		op.Type != types.OperationTypeRegisterInstance {
		t.Errorf("operation %s: %s", op.Type, d)
	}
	got := apitest.Must(w.GetInstance(ctx, &sd.GetInstanceInput{ServiceId: &svc,
		InstanceId: aws.String("a/b:c@d.e_f-g")}))(t)
	if d := cmp.Diff(&sd.GetInstanceOutput{ResourceOwner: aws.String(apitest.Account), Instance: &types.Instance{
		Id: aws.String("a/b:c@d.e_f-g"), Attributes: attributes, CreatorRequestId: aws.String("t"),
		CreatedByAccount: aws.String(apitest.Account)}}, got, plain); d != "" {
		t.Errorf("GetInstance (-want +got):\n%s", d)
	}
	list := apitest.Must(w.ListInstances(ctx, &sd.ListInstancesInput{ServiceId: &svc}))(t)
	if d := cmp.Diff(&sd.ListInstancesOutput{ResourceOwner: aws.String(apitest.Account),
		Instances: []types.InstanceSummary{
			{Id: aws.String("a/b:c@d.e_f-g"), Attributes: attributes,
				CreatedByAccount: aws.String(apitest.Account)}}}, list, plain); d != "" {
		t.Errorf("ListInstances (-want +got):\n%s", d)
	}
	discovered := apitest.Must(w.DiscoverInstances(ctx, &sd.DiscoverInstancesInput{
		NamespaceName: aws.String("shop.local"), ServiceName: aws.String("CART")}))(t)
	if discovered.InstancesRevision == nil || *discovered.InstancesRevision < 1 {
		t.Errorf("revision %v", discovered.InstancesRevision)
	}
	if d := cmp.Diff([]types.HttpInstanceSummary{{InstanceId: aws.String("a/b:c@d.e_f-g"),
		NamespaceName: aws.String("shop.local"),
		ServiceName:   aws.String("cart"), HealthStatus: "HEALTHY",
		Attributes: attributes}}, discovered.Instances, plain); d != "" {
		t.Errorf("DiscoverInstances (-want +got):\n%s", d)
	}
	if svcGot := apitest.Must(w.GetService(ctx, &sd.GetServiceInput{Id: &svc}))(t).Service; *svcGot.InstanceCount != 1 {
		t.Errorf("InstanceCount = %d", *svcGot.InstanceCount)
	}
}

package cloudmap_test

//lint:file-ignore SA1019 clients still send, and read, the members that AWS calls deprecated.

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
)

// unchecked turns off the client's own validation of a request.
func unchecked(o *sd.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		_, err := stack.Initialize.Remove("OperationInputValidation")
		return err
	})
}

// s and n return pointers to a string and a number.
func s(v string) *string { return &v }
func n(v int32) *int32   { return &v }

// TestConstraints checks that one error lists all broken constraints of a request, in AWS's words.
func TestConstraints(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	long := strings.Repeat("x", 65)
	ttl := int64(1 << 31)
	for _, tc := range []struct {
		name string
		call func() error
		want string
	}{
		{"a missing id", func() error {
			_, err := w.GetNamespace(ctx, &sd.GetNamespaceInput{}, unchecked)
			return err
		}, "1 validation error detected: Value null at 'id' failed to satisfy constraint: Member must not be null"},
		{"several broken constraints", func() error {
			_, err := w.CreateHttpNamespace(ctx, &sd.CreateHttpNamespaceInput{Name: s("arn:x"),
				CreatorRequestId: &long})
			return err
		}, "2 validation errors detected: Value 'arn:x' at 'name' failed to satisfy constraint: " +
			"Member must satisfy regular expression pattern: ^(?!arn:)[!-~]{1,1024}$; " +
			"Value '" + long +
			"' at 'creatorRequestId' failed to satisfy constraint: Member must have length less than or equal to 64"},
		{"a missing VPC", func() error {
			_, err := w.CreatePrivateDnsNamespace(ctx, &sd.CreatePrivateDnsNamespaceInput{Name: s("a")}, unchecked)
			return err
		}, "1 validation error detected: Value null at 'vpc' failed to satisfy constraint: Member must not be null"},
		{"an empty private name", func() error {
			_, err := w.CreatePrivateDnsNamespace(ctx, &sd.CreatePrivateDnsNamespaceInput{Name: s(""), Vpc: s("vpc-1")})
			return err
		}, "at 'name' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{"a public name of one label", func() error {
			_, err := w.CreatePublicDnsNamespace(ctx, &sd.CreatePublicDnsNamespaceInput{Name: s("local")})
			return err
		}, "Value 'local' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern"},
		{"a public label that ends in a hyphen", func() error {
			_, err := w.CreatePublicDnsNamespace(ctx, &sd.CreatePublicDnsNamespaceInput{Name: s("a-.example")})
			return err
		}, "Member must satisfy regular expression pattern"},
		{"a SOA TTL too large", func() error {
			_, err := w.CreatePublicDnsNamespace(ctx, &sd.CreatePublicDnsNamespaceInput{Name: s("a.example"),
				Properties: &types.PublicDnsNamespaceProperties{
					DnsProperties: &types.PublicDnsPropertiesMutable{SOA: &types.SOA{TTL: &ttl}}}})
			return err
		}, "Value '2147483648' at 'properties.dnsProperties.sOA.tTL' failed to satisfy constraint: " +
			"Member must have value less than or equal to 2147483647"},
		{"an unknown record type without a TTL", func() error {
			_, err := w.CreateService(ctx, &sd.CreateServiceInput{Name: s("a"), NamespaceId: s("ns-x"),
				DnsConfig: &types.DnsConfig{DnsRecords: []types.DnsRecord{{Type: "MX"}}}}, unchecked)
			return err
		}, "2 validation errors detected: " +
			"Value 'MX' at 'dnsConfig.dnsRecords.1.member.type' failed to satisfy constraint: " +
			"Member must satisfy enum value set: [SRV, A, AAAA, CNAME]; " +
			"Value null at 'dnsConfig.dnsRecords.1.member.tTL' failed to satisfy constraint: Member must not be null"},
		{"a failure threshold too large", func() error {
			_, err := w.CreateService(ctx, &sd.CreateServiceInput{Name: s("a"), NamespaceId: s("ns-x"),
				HealthCheckCustomConfig: &types.HealthCheckCustomConfig{FailureThreshold: n(11)}})
			return err
		}, "Value '11' at 'healthCheckCustomConfig.failureThreshold' failed to satisfy constraint: " +
			"Member must have value less than or equal to 10"},
		{"a malformed ARN", func() error {
			_, err := w.GetService(ctx, &sd.GetServiceInput{Id: s("arn:aws:x")})
			return err
		}, "Value 'arn:aws:x' at 'id' failed to satisfy constraint: Member must be an id or an ARN"},
		{"an instance id", func() error {
			_, err := w.RegisterInstance(ctx, &sd.RegisterInstanceInput{ServiceId: s("srv-x"), InstanceId: s("a b"),
				Attributes: map[string]string{}})
			return err
		}, "Value 'a b' at 'instanceId' failed to satisfy constraint: " +
			"Member must satisfy regular expression pattern: ^[0-9a-zA-Z_/:.@-]+$"},
		{"attribute keys and values", func() error {
			_, err := w.RegisterInstance(ctx, &sd.RegisterInstanceInput{ServiceId: s("srv-x"), InstanceId: s("a"),
				Attributes: map[string]string{"a b": "", "c": " leading", "d": strings.Repeat("d", 1025)}})
			return err
		}, "3 validation errors detected: Value 'a b' at 'attributes' failed to satisfy constraint: " +
			"Map keys must satisfy constraint: [Member must satisfy regular expression pattern: ^[a-zA-Z0-9!-~]+$]; " +
			"Value ' leading' at 'attributes.c' failed to satisfy constraint: " +
			"Map value must satisfy constraint: [Member must satisfy regular expression pattern: "},
		{"a page too large", func() error {
			_, err := w.ListNamespaces(ctx, &sd.ListNamespacesInput{MaxResults: n(101)})
			return err
		}, "Value '101' at 'maxResults' failed to satisfy constraint: " +
			"Member must have value less than or equal to 100"},
		{"a page of no items", func() error {
			_, err := w.ListServices(ctx, &sd.ListServicesInput{MaxResults: n(0)})
			return err
		}, "Value '0' at 'maxResults' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"an unknown token", func() error {
			_, err := w.ListServices(ctx, &sd.ListServicesInput{NextToken: s("AAAA")})
			return err
		}, "Value 'AAAA' at 'nextToken' failed to satisfy constraint: " +
			"Member must be a token that ListServices has returned"},
		{"an unknown filter", func() error {
			_, err := w.ListServices(ctx, &sd.ListServicesInput{Filters: []types.ServiceFilter{
				{Name: "NAME", Values: []string{"x"}}}})
			return err
		}, "Value 'NAME' at 'filters.1.member.name' failed to satisfy constraint: " +
			"Member must satisfy enum value set: [NAMESPACE_ID, RESOURCE_OWNER]"},
		{"a condition that the filter does not accept", func() error {
			_, err := w.ListNamespaces(ctx, &sd.ListNamespacesInput{Filters: []types.NamespaceFilter{
				{Name: "TYPE", Condition: "BETWEEN", Values: []string{"a", "b"}}}})
			return err
		}, "Value 'BETWEEN' at 'filters.1.member.condition' failed to satisfy constraint: " +
			"A filter by TYPE accepts the conditions"},
		{"EQ with two values", func() error {
			_, err := w.ListNamespaces(ctx, &sd.ListNamespacesInput{Filters: []types.NamespaceFilter{
				{Name: "TYPE", Values: []string{"HTTP", "DNS_PUBLIC"}}}})
			return err
		}, "The condition EQ requires 1 value(s)"},
		{"malformed dates", func() error {
			_, err := w.ListOperations(ctx, &sd.ListOperationsInput{Filters: []types.OperationFilter{
				{Name: "UPDATE_DATE", Condition: "BETWEEN", Values: []string{"today", "NaN"}}}})
			return err
		}, "2 validation errors detected: Value 'today'"},
		{"MaxResults too large", func() error {
			_, err := w.DiscoverInstances(ctx, &sd.DiscoverInstancesInput{NamespaceName: s("a"), ServiceName: s("b"),
				MaxResults: n(1001), HealthStatus: "FINE"})
			return err
		}, "2 validation errors detected: Value '1001' at 'maxResults' failed to satisfy constraint: " +
			"Member must have value less than or equal to 1000; " +
			"Value 'FINE' at 'healthStatus' failed to satisfy constraint: " +
			"Member must satisfy enum value set: [HEALTHY, UNHEALTHY, ALL, HEALTHY_OR_ELSE_ALL]"},
		{"a custom status", func() error {
			_, err := w.UpdateInstanceCustomHealthStatus(ctx,
				&sd.UpdateInstanceCustomHealthStatusInput{ServiceId: s("a"), InstanceId: s("b"), Status: "UNKNOWN"})
			return err
		}, "Value 'UNKNOWN' at 'status' failed to satisfy constraint: " +
			"Member must satisfy enum value set: [HEALTHY, UNHEALTHY]"},
		{"tags", func() error {
			_, err := w.CreateHttpNamespace(ctx, &sd.CreateHttpNamespaceInput{Name: s("a"),
				Tags: []types.Tag{{Key: s(""), Value: s("")}, {Key: s("k"), Value: s(strings.Repeat("v", 257))}}})
			return err
		}, "at 'tags.2.member.value' failed to satisfy constraint: Member must have length less than or equal to 256"},
		{"more broken constraints than the message shows", func() error {
			attributes := map[string]string{}
			for i := range 60 {
				attributes[fmt.Sprintf("a b%d", i)] = ""
			}
			_, err := w.RegisterInstance(ctx, &sd.RegisterInstanceInput{ServiceId: s("srv-x"), InstanceId: s("a"),
				Attributes: attributes})
			return err
		}, "60 validation errors detected"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var e *types.InvalidInput
			if err := tc.call(); !errors.As(err, &e) || !strings.Contains(e.ErrorMessage(), tc.want) {
				t.Errorf("%v\nwant InvalidInput with %s", err, tc.want)
			}
		})
	}
}

// TestServiceNames compares the pattern of service names with the model's description.
func TestServiceNames(t *testing.T) {
	w := newWorld(t)
	ns := w.httpNamespace("names")
	for name, ok := range map[string]bool{
		".": true, "a": true, "a.b": true, "_http._tcp": true, "a_b-c": true, "__": true, "9": true,
		strings.Repeat("a", 63): true, strings.Repeat("a.", 63) + "a": true,
		"": false, "..": false, ".a": false, "a.": false, "-a": false, "a-": false, "_": false, "a b": false,
		"ä":                     false,
		strings.Repeat("a", 64): false, strings.Repeat("a.", 64) + "a": false, "a\n": false,
	} {
		_, err := w.CreateService(t.Context(), &sd.CreateServiceInput{Name: &name, NamespaceId: &ns})
		if (err == nil) != ok {
			t.Errorf("%q: %v, want ok %v", name, err, ok)
		}
	}
}

// TestErrors checks that each error has AWS's code and members.
func TestErrors(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ns := w.privateNamespace("shop.local", "vpc-1")
	svc := w.service(ns, "cart", "A 10")
	custom := w.service(ns, "custom", "A 10, custom")
	w.register(svc, "i-1", "IPV4=10.0.0.1")
	elsewhere := func(kind, id string) *string {
		return s("arn:aws:servicediscovery:us-east-1:" + apitest.Account + ":" + kind + "/" + id)
	}
	create := func(namespace, name, what string) error {
		in := &sd.CreateServiceInput{Name: &name, NamespaceId: &namespace}
		shape(in, what)
		_, err := w.CreateService(ctx, in, unchecked)
		return err
	}
	for _, tc := range []struct {
		name string
		call func() error
		want string
	}{
		{"get an unknown namespace", func() error {
			_, err := w.GetNamespace(ctx, &sd.GetNamespaceInput{Id: s("ns-x")})
			return err
		}, "NamespaceNotFound"},
		{"get a namespace of another region", func() error {
			_, err := w.GetNamespace(ctx, &sd.GetNamespaceInput{Id: elsewhere("namespace", ns)})
			return err
		}, "NamespaceNotFound"},
		{"get a service as a namespace", func() error {
			_, err := w.GetNamespace(ctx, &sd.GetNamespaceInput{Id: s(arns + "service/" + svc)})
			return err
		}, "NamespaceNotFound"},
		{"delete an unknown namespace", func() error {
			_, err := w.DeleteNamespace(ctx, &sd.DeleteNamespaceInput{Id: s("ns-x")})
			return err
		}, "NamespaceNotFound"},
		{"delete a namespace with services", func() error {
			_, err := w.DeleteNamespace(ctx, &sd.DeleteNamespaceInput{Id: &ns})
			return err
		}, "ResourceInUse: Namespace has associated services; delete the services before deleting the namespace"},
		{"create an existing namespace", func() error {
			_, err := w.CreatePrivateDnsNamespace(ctx, &sd.CreatePrivateDnsNamespaceInput{Name: s("SHOP.local"),
				Vpc: s("vpc-1")})
			return err
		}, "NamespaceAlreadyExists NamespaceId=" + ns},
		{"update as another type", func() error {
			_, err := w.UpdateHttpNamespace(ctx, &sd.UpdateHttpNamespaceInput{Id: &ns,
				Namespace: &types.HttpNamespaceChange{Description: s("")}})
			return err
		}, "InvalidInput"},
		{"a service in an unknown namespace", func() error { return create("ns-x", "a", "") }, "NamespaceNotFound"},
		{"a service without a namespace", func() error {
			_, err := w.CreateService(ctx, &sd.CreateServiceInput{Name: s("a")})
			return err
		}, "InvalidInput: Service namespace id cannot be null"},
		{"a service in two namespaces", func() error {
			in := &sd.CreateServiceInput{Name: s("a"), NamespaceId: &ns}
			shape(in, "A 10")
			in.DnsConfig.NamespaceId = s("ns-x")
			_, err := w.CreateService(ctx, in)
			return err
		}, "InvalidInput"},
		{"create an existing service", func() error { return create(ns, "CART", "A 10") },
			"ServiceAlreadyExists ServiceId=" + svc},
		{"HTTP with DNS", func() error { return create(ns, "a", "A 10, api") },
			"InvalidInput: When you specify an HTTP service, you can't include a DnsConfig element."},
		{"a CNAME with another type", func() error { return create(ns, "a", "A 1, CNAME 1, weighted") },
			"InvalidInput"},
		{"a CNAME that is not weighted", func() error { return create(ns, "a", "CNAME 1") }, "InvalidInput"},
		{"a type twice", func() error { return create(ns, "a", "A 1, A 2") }, "InvalidInput"},
		{"a DnsConfig without records", func() error { return create(ns, "a", "multivalue") }, "InvalidInput"},
		{"a health check in a private namespace", func() error { return create(ns, "a", "A 1, http") }, "InvalidInput"},
		{"a health check and a custom one", func() error { return create(ns, "a", "A 1, http, custom") },
			"InvalidInput"},
		{"get an unknown service", func() error {
			_, err := w.GetService(ctx, &sd.GetServiceInput{Id: s("srv-x")})
			return err
		}, "ServiceNotFound"},
		{"delete a service with instances", func() error {
			_, err := w.DeleteService(ctx, &sd.DeleteServiceInput{Id: &svc})
			return err
		}, "ResourceInUse: Service contains registered instances; delete the instances before deleting the service"},
		{"delete an unknown service", func() error {
			_, err := w.DeleteService(ctx, &sd.DeleteServiceInput{Id: s("srv-x")})
			return err
		}, "ServiceNotFound"},
		{"register in an unknown service", func() error {
			_, err := w.RegisterInstance(ctx, &sd.RegisterInstanceInput{ServiceId: s("srv-x"), InstanceId: s("a"),
				Attributes: map[string]string{}})
			return err
		}, "ServiceNotFound"},
		{"register without an address", func() error {
			_, err := w.RegisterInstance(ctx, &sd.RegisterInstanceInput{ServiceId: &svc, InstanceId: s("a"),
				Attributes: map[string]string{}})
			return err
		}, "InvalidInput"},
		{"deregister an unknown instance", func() error {
			_, err := w.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: &svc, InstanceId: s("a")})
			return err
		}, "InstanceNotFound"},
		{"get an unknown instance", func() error {
			_, err := w.GetInstance(ctx, &sd.GetInstanceInput{ServiceId: &svc, InstanceId: s("a")})
			return err
		}, "InstanceNotFound"},
		{"list the instances of an unknown service", func() error {
			_, err := w.ListInstances(ctx, &sd.ListInstancesInput{ServiceId: s("srv-x")})
			return err
		}, "ServiceNotFound"},
		{"health of an unknown instance", func() error {
			_, err := w.GetInstancesHealthStatus(ctx, &sd.GetInstancesHealthStatusInput{ServiceId: &svc,
				Instances: []string{"i-1", "a"}})
			return err
		}, "InstanceNotFound"},
		{"set the health without a custom health check", func() error {
			_, err := w.UpdateInstanceCustomHealthStatus(ctx,
				&sd.UpdateInstanceCustomHealthStatusInput{ServiceId: &svc, InstanceId: s("i-1"), Status: "HEALTHY"})
			return err
		}, "CustomHealthNotFound"},
		{"set the health of an unknown instance", func() error {
			_, err := w.UpdateInstanceCustomHealthStatus(ctx,
				&sd.UpdateInstanceCustomHealthStatusInput{ServiceId: &custom, InstanceId: s("a"), Status: "HEALTHY"})
			return err
		}, "InstanceNotFound"},
		{"set the health in an unknown service", func() error {
			_, err := w.UpdateInstanceCustomHealthStatus(ctx,
				&sd.UpdateInstanceCustomHealthStatusInput{ServiceId: s("srv-x"), InstanceId: s("a"), Status: "HEALTHY"})
			return err
		}, "ServiceNotFound"},
		{"an unknown operation", func() error {
			_, err := w.GetOperation(ctx, &sd.GetOperationInput{OperationId: s("x-k9302yzd")})
			return err
		}, "OperationNotFound"},
		{"a malformed operation id", func() error {
			_, err := w.GetOperation(ctx, &sd.GetOperationInput{OperationId: s("x")})
			return err
		}, "OperationNotFound"},
		{"discover in an unknown namespace", func() error {
			_, err := w.DiscoverInstances(ctx, &sd.DiscoverInstancesInput{NamespaceName: s("x"),
				ServiceName: s("cart")})
			return err
		}, "NamespaceNotFound"},
		{"discover an unknown service", func() error {
			_, err := w.DiscoverInstances(ctx, &sd.DiscoverInstancesInput{NamespaceName: s("shop.local"),
				ServiceName: s("x")})
			return err
		}, "ServiceNotFound"},
		{"discover in another account", func() error {
			_, err := w.DiscoverInstances(ctx, &sd.DiscoverInstancesInput{NamespaceName: s("shop.local"),
				ServiceName: s("cart"), OwnerAccount: s("999999999999")})
			return err
		}, "NamespaceNotFound"},
		{"the revision of an unknown service", func() error {
			_, err := w.DiscoverInstancesRevision(ctx, &sd.DiscoverInstancesRevisionInput{
				NamespaceName: s("shop.local"), ServiceName: s("x")})
			return err
		}, "ServiceNotFound"},
		{"tags of an unknown service", func() error {
			_, err := w.ListTagsForResource(ctx, &sd.ListTagsForResourceInput{ResourceARN: s(arns + "service/srv-x")})
			return err
		}, "ResourceNotFoundException"},
		{"tags of an instance", func() error {
			_, err := w.ListTagsForResource(ctx, &sd.ListTagsForResourceInput{ResourceARN: s(arns + "instance/" + svc)})
			return err
		}, "ResourceNotFoundException"},
		{"tags of an id that is not an ARN", func() error {
			_, err := w.ListTagsForResource(ctx, &sd.ListTagsForResourceInput{ResourceARN: &svc})
			return err
		}, "InvalidInput"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := describe(tc.call()); !strings.HasPrefix(got, tc.want) {
				t.Errorf("%s\nwant %s", got, tc.want)
			}
		})
	}
}

// describe returns an error's code and its additional members, or else its text.
func describe(err error) string {
	var nsExists *types.NamespaceAlreadyExists
	var svcExists *types.ServiceAlreadyExists
	var api smithy.APIError
	switch {
	case errors.As(err, &nsExists):
		return fmt.Sprintf("NamespaceAlreadyExists NamespaceId=%s CreatorRequestId=%s",
			aws.ToString(nsExists.NamespaceId), aws.ToString(nsExists.CreatorRequestId))
	case errors.As(err, &svcExists):
		return fmt.Sprintf("ServiceAlreadyExists ServiceId=%s ServiceArn=%s", aws.ToString(svcExists.ServiceId),
			aws.ToString(svcExists.ServiceArn))
	case errors.As(err, &api):
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	return fmt.Sprint(err)
}

// TestIdempotency checks that a repeated CreatorRequestId returns the first result.
func TestIdempotency(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	private := func(token, description, vpc string) (string, error) {
		out, err := w.CreatePrivateDnsNamespace(ctx, &sd.CreatePrivateDnsNamespaceInput{
			Name: s("shop.local"), Vpc: &vpc, Description: &description, CreatorRequestId: &token})
		if err != nil {
			return "", err
		}
		return *out.OperationId, nil
	}
	first, err := private("token", "a", "vpc-1")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := private("token", "a", "vpc-1"); err != nil || again != first {
		t.Errorf("the same request again: %s, %v; want the operation %s", again, err, first)
	}
	_, err = private("token", "b", "vpc-1")
	var dup *types.DuplicateRequest
	if !errors.As(err, &dup) || aws.ToString(dup.DuplicateOperationId) != first {
		t.Errorf("the same token with another request: %v", err)
	}
	_, err = private("token2", "a", "vpc-1")
	var exists *types.NamespaceAlreadyExists
	if !errors.As(err, &exists) || aws.ToString(exists.CreatorRequestId) != "token" {
		t.Errorf("another token: %v", err)
	}
	ns := w.operation(&first).Targets["NAMESPACE"]

	service := func(token, description string) (string, error) {
		out, err := w.CreateService(ctx, &sd.CreateServiceInput{Name: s("cart"), NamespaceId: &ns,
			CreatorRequestId: &token, Description: &description})
		if err != nil {
			return "", err
		}
		return *out.Service.Id, nil
	}
	svc, err := service("token", "a")
	if err != nil {
		t.Fatal(err)
	}
	apitest.Must(w.UpdateService(ctx, &sd.UpdateServiceInput{Id: &svc, Service: &types.ServiceChange{
		Description: s("changed since")}}))(t)
	if again, err := service("token", "a"); err != nil || again != svc {
		t.Errorf("the same service again: %s, %v", again, err)
	}
	for _, other := range [][2]string{{"token", "b"}, {"token2", "a"}} {
		_, err := service(other[0], other[1])
		var exists *types.ServiceAlreadyExists
		if !errors.As(err, &exists) || aws.ToString(exists.ServiceId) != svc ||
			aws.ToString(exists.CreatorRequestId) != "token" ||
			aws.ToString(exists.ServiceArn) != arns+"service/"+svc {
			t.Errorf("token %s, description %s: %v", other[0], other[1], err)
		}
	}

	register := func(token, color string) string {
		out := apitest.Must(w.RegisterInstance(ctx, &sd.RegisterInstanceInput{
			ServiceId: &svc, InstanceId: s("i"), CreatorRequestId: &token, Attributes: map[string]string{
				"color": color}}))(t)
		return *out.OperationId
	}
	revision := func() int64 {
		return *apitest.Must(w.DiscoverInstancesRevision(ctx, &sd.DiscoverInstancesRevisionInput{
			NamespaceName: s("shop.local"), ServiceName: s("cart")}))(t).InstancesRevision
	}
	op := register("token", "red")
	rev := revision()
	if again := register("token", "red"); again != op || revision() != rev {
		t.Errorf("the same instance again: operation %s after %s, revision %d after %d", again, op, revision(), rev)
	}
	if other := register("token", "blue"); other == op || revision() <= rev {
		t.Errorf("the same token with other attributes: operation %s, revision %d after %d", other, revision(), rev)
	}

	apitest.Must(w.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: &svc, InstanceId: s("i")}))(t)
	apitest.Must(w.DeleteService(ctx, &sd.DeleteServiceInput{Id: &svc}))(t)
	apitest.Must(w.DeleteNamespace(ctx, &sd.DeleteNamespaceInput{Id: &ns}))(t)
	recreated, err := private("token", "a", "vpc-1")
	if err != nil || recreated == first {
		t.Errorf("the same token after its namespace was deleted: %s, %v; want another operation", recreated, err)
	}
	if id := w.operation(&recreated).Targets["NAMESPACE"]; id == ns {
		t.Error("the namespace has the id of the deleted one")
	}
}

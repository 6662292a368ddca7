package failures

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// badRequest is a request that the API must reject with an error of this code, whose message contains mentions.
type badRequest struct {
	name     string
	do       harness.Call
	code     string
	mentions string
}

// badRequests returns requests that name a namespace, a service with instances, and a label that is too long.
func badRequests(shop, cart, label string) []badRequest {
	service := func(member string) string {
		return `{"serviceName":"web","taskDefinition":"sleeper",` + member +
			`,"networkConfiguration":{"awsvpcConfiguration":{"subnets":["subnet-local"]}}}`
	}
	return []badRequest{
		{"a label of 64 characters", harness.Call{Operation: "CreateService",
			Body: fmt.Sprintf(`{"Name":%q,"NamespaceId":%q,"DnsConfig":{"DnsRecords":[{"Type":"A","TTL":1}]}}`, label,
				shop)},
			"InvalidInput", label},
		{"an unknown namespace",
			harness.Call{Operation: "CreateService", Body: `{"Name":"a","NamespaceId":"ns-unknown"}`},
			"NamespaceNotFound", "ns-unknown"},
		{"an unknown namespace in a discovery", harness.Call{Operation: "DiscoverInstances",
			Body: `{"NamespaceName":"nowhere","ServiceName":"a"}`}, "NamespaceNotFound", "nowhere"},
		{"an unknown service",
			harness.Call{Operation: "RegisterInstance",
				Body: `{"ServiceId":"srv-unknown","InstanceId":"a","Attributes":{"AWS_INSTANCE_IPV4":"10.0.0.1"}}`},
			"ServiceNotFound", "srv-unknown"},
		{"an unknown operation", harness.Call{Operation: "GetOperation", Body: `{"OperationId":"unknown"}`},
			"OperationNotFound", "unknown"},
		{"deletion of a namespace with services", harness.Call{Operation: "DeleteNamespace",
			Body: fmt.Sprintf(`{"Id":%q}`, shop)}, "ResourceInUse", "services"},
		{"deletion of a service with instances", harness.Call{Operation: "DeleteService",
			Body: fmt.Sprintf(`{"Id":%q}`, cart)}, "ResourceInUse", "instances"},
		{"no address", harness.Call{Operation: "RegisterInstance", Body: fmt.Sprintf(
			`{"ServiceId":%q,"InstanceId":"a","Attributes":{}}`, cart)}, "InvalidInput", "AWS_INSTANCE_IPV4"},
		{"an invalid address", harness.Call{Operation: "RegisterInstance", Body: fmt.Sprintf(
			`{"ServiceId":%q,"InstanceId":"a","Attributes":{"AWS_INSTANCE_IPV4":"10.0.0.256"}}`, cart)},
			"InvalidInput",
			"10.0.0.256"},
		{"a negative TTL", harness.Call{Operation: "CreateService", Body: fmt.Sprintf(
			`{"Name":"a","NamespaceId":%q,"DnsConfig":{"DnsRecords":[{"Type":"A","TTL":-1}]}}`, shop)}, "InvalidInput",
			"-1"},

		{"a desired count of -1", harness.Call{ECS: true, Operation: "CreateService",
			Body: service(`"desiredCount":-1`)},
			"InvalidParameterException", "lesser than 0"},
		{"an update to a desired count of -1", harness.Call{ECS: true, Operation: "UpdateService",
			Body: `{"service":"cart","desiredCount":-1}`}, "InvalidParameterException", "lesser than 0"},
		{"a desired count of 1.5", harness.Call{ECS: true, Operation: "UpdateService",
			Body: `{"service":"cart","desiredCount":1.5}`}, "SerializationException", "desiredCount"},
		{"a definition without containers", harness.Call{ECS: true, Operation: "RegisterTaskDefinition",
			Body: `{"family":"a","containerDefinitions":[]}`}, "ClientException", "Container"},
		{"a definition with two containers of the same name",
			harness.Call{ECS: true, Operation: "RegisterTaskDefinition",
				Body: `{"family":"a","containerDefinitions":[{"name":"m","image":"i","memory":64},` +
					`{"name":"m","image":"i","memory":64}]}`}, "ClientException", "m"},
		{"an unknown definition", harness.Call{ECS: true, Operation: "CreateService",
			Body: `{"serviceName":"web","taskDefinition":"unknown","desiredCount":1}`}, "ClientException", ""},
		{"an unknown registry", harness.Call{ECS: true, Operation: "CreateService",
			Body: service(`"desiredCount":1,"serviceRegistries":[{"registryArn":"` +
				`arn:aws:servicediscovery:us-east-1:000000000000:service/srv-unknown"}]`)}, "InvalidParameterException",
			"srv-unknown"},
		{"no network configuration", harness.Call{ECS: true, Operation: "CreateService",
			Body: `{"serviceName":"web","taskDefinition":"sleeper","desiredCount":1}`}, "InvalidParameterException",
			"etwork"},
		{"an unknown cluster", harness.Call{ECS: true, Operation: "CreateService",
			Body: `{"cluster":"unknown","serviceName":"web","taskDefinition":"sleeper","desiredCount":1}`},
			"ClusterNotFoundException", ""},
		{"an unknown ECS service", harness.Call{ECS: true, Operation: "UpdateService",
			Body: `{"service":"unknown","desiredCount":1}`}, "ServiceNotFoundException", ""},
	}
}

// TestBadRequests sends signed requests with invalid input. The API must reject each with its own error, whose message
// names the invalid value, and change nothing.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "none")
	shop := s.CreateNamespace("shop")
	cart := s.CreateCloudMapService(shop, "cart", 1)
	harness.Must(s.CloudMap().RegisterInstance(t.Context(), harness.Registration(*cart.Id, "one", "10.0.0.1")))(t)
	s.CreateECSService("cart", s.RegisterDefinition(harness.Program(t, "sleeper", "/bin/sleep", "1000")), 0, cart)
	s.WaitStable("cart") // from here on the server writes nothing unless a request makes it
	before := s.Contents()

	label := strings.Repeat("x", 64) // the limit is 63 (RFC 1035, section 2.3.4)
	for _, tc := range badRequests(shop, *cart.Id, label) {
		got, err := s.Send(tc.do)
		if err != nil || got.Status != http.StatusBadRequest || got.Code != tc.code ||
			!strings.Contains(got.Message, tc.mentions) {
			t.Errorf("%s: %+v, %v; want %s with %q in the message", tc.name, got, err, tc.code, tc.mentions)
		}
	}
	if after := s.Contents(); after != before {
		t.Errorf("rejected requests changed the state to\n%s\nfrom\n%s", after, before)
	}

	// The name of a namespace is checked when its zone is created, so the operation fails and not the request.
	made := harness.Must(s.CloudMap().CreatePrivateDnsNamespace(t.Context(),
		&sd.CreatePrivateDnsNamespaceInput{Name: aws.String(label + ".example"), Vpc: aws.String("vpc-local")}))(t)
	op := harness.Must(s.CloudMap().GetOperation(t.Context(),
		&sd.GetOperationInput{OperationId: made.OperationId}))(t).Operation
	if op.Status != sdtypes.OperationStatusFail || !strings.Contains(aws.ToString(op.ErrorMessage), label) {
		t.Errorf("a namespace with a label of 64 characters: %s", harness.AsJSON(op))
	}
	if err := s.CheckQueryA("cart.shop", "10.0.0.1"); err != nil {
		t.Error(err)
	}
}

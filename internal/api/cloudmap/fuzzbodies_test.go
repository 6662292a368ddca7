package cloudmap_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/registry"
)

// validBodies has a valid body for each operation. "$http" is an HTTP namespace, "$ns" a private namespace with the
// name "$name", "$srv" a service in it with an instance "i-1", "$api" a service without DNS records, and "$op" an
// operation.
var validBodies = map[string]string{
	"CreateHttpNamespace": `{"Name":"a","CreatorRequestId":"t","Description":"d",` +
		`"Tags":[{"Key":"k","Value":"v"}]}`,
	"CreatePrivateDnsNamespace": `{"Name":"a.local","Vpc":"vpc-1","Properties":{"DnsProperties":{"SOA":{"TTL":60}}}}`,
	"CreatePublicDnsNamespace":  `{"Name":"a.example","Properties":{"DnsProperties":{"SOA":{"TTL":60}}}}`,
	"CreateService": `{"Name":"a","NamespaceId":"$ns","DnsConfig":{"RoutingPolicy":"WEIGHTED",` +
		`"DnsRecords":[{"Type":"A","TTL":60},{"Type":"SRV","TTL":60}]},` +
		`"HealthCheckCustomConfig":{"FailureThreshold":1}}`,
	"DeleteNamespace":         `{"Id":"$http"}`,
	"DeleteService":           `{"Id":"$api"}`,
	"DeleteServiceAttributes": `{"ServiceId":"$srv","Attributes":["k"]}`,
	"DeregisterInstance":      `{"ServiceId":"$srv","InstanceId":"i-1"}`,
	"DiscoverInstances": `{"NamespaceName":"$name","ServiceName":"cart","MaxResults":10,"QueryParameters":{"k":"v"},` +
		`"OptionalParameters":{"k":"v"},"HealthStatus":"ALL","OwnerAccount":"123456789012"}`,
	"DiscoverInstancesRevision": `{"NamespaceName":"$name","ServiceName":"cart"}`,
	"GetInstance":               `{"ServiceId":"$srv","InstanceId":"i-1"}`,
	"GetInstancesHealthStatus":  `{"ServiceId":"$srv","Instances":["i-1"],"MaxResults":1}`,
	"GetNamespace":              `{"Id":"arn:aws:servicediscovery:eu-west-1:123456789012:namespace/$ns"}`,
	"GetOperation":              `{"OperationId":"$op","OwnerAccount":"123456789012"}`,
	"GetService":                `{"Id":"$srv"}`,
	"GetServiceAttributes":      `{"ServiceId":"$srv"}`,
	"ListInstances":             `{"ServiceId":"$srv","MaxResults":100,"NextToken":""}`,
	"ListNamespaces": `{"Filters":[{"Name":"TYPE","Values":["DNS_"],"Condition":"BEGINS_WITH"},{"Name":"HTTP_NAME",` +
		`"Values":["$name","b"],"Condition":"IN"}]}`,
	"ListOperations": `{"Filters":[{"Name":"UPDATE_DATE","Values":["1","1e10"],"Condition":"BETWEEN"},` +
		`{"Name":"SERVICE_ID","Values":["$srv"]}]}`,
	"ListServices":        `{"Filters":[{"Name":"NAMESPACE_ID","Values":["$ns"]}],"MaxResults":1}`,
	"ListTagsForResource": `{"ResourceARN":"arn:aws:servicediscovery:eu-west-1:123456789012:service/$srv"}`,
	"RegisterInstance": `{"ServiceId":"$srv","InstanceId":"i-2","CreatorRequestId":"t",` +
		`"Attributes":{"AWS_INSTANCE_IPV4":"10.0.0.1","AWS_INSTANCE_PORT":"80","k":"v"}}`,
	"TagResource": `{"ResourceARN":"arn:aws:servicediscovery:eu-west-1:123456789012:namespace/$ns",` +
		`"Tags":[{"Key":"k","Value":"v"}]}`,
	"UntagResource": `{"ResourceARN":"arn:aws:servicediscovery:eu-west-1:123456789012:service/$srv",` +
		`"TagKeys":["k"]}`,
	"UpdateHttpNamespace":              `{"Id":"$http","UpdaterRequestId":"t","Namespace":{"Description":"d"}}`,
	"UpdateInstanceCustomHealthStatus": `{"ServiceId":"$srv","InstanceId":"i-1","Status":"UNHEALTHY"}`,
	"UpdatePrivateDnsNamespace": `{"Id":"$ns","Namespace":{"Description":"d",` +
		`"Properties":{"DnsProperties":{"SOA":{"TTL":60}}}}}`,
	"UpdatePublicDnsNamespace": `{"Id":"$ns","Namespace":{"Properties":{"DnsProperties":{"SOA":{"TTL":60}}}}}`,
	"UpdateService": `{"Id":"$srv","Service":{"Description":"d","DnsConfig":{` +
		`"DnsRecords":[{"Type":"SRV","TTL":1},{"Type":"A","TTL":2}]}}}`,
	"UpdateServiceAttributes": `{"ServiceId":"$srv","Attributes":{"k":"v"}}`,
}

// malformedBodies are sent to all operations.
var malformedBodies = []string{
	"", "{}", "null", "[]", "{", `""`, "0", "\xff", `{"Id":null}`, `{"Id":1}`, `{"Id":{"Id":[]}}`,
	`{"Id":"a","Id":"b"}`,
	`{"ServiceId":"\ud800","InstanceId":"\u0000"}`, `{"Filters":[null]}`, `{"Tags":[null,{}]}`,
	`{"Attributes":{"":""}}`,
	`{"Attributes":null,"ServiceId":"$srv"}`, `{"MaxResults":1e99}`, `{"MaxResults":-0.0}`, `{"NextToken":"AAAA"}`,
	`{"Name":"a","Name":{},"NamespaceId":"$ns","DnsConfig":{"DnsRecords":[null]}}`,
	strings.Repeat(`{"Service":`, 100) + "1" + strings.Repeat("}", 100),
}

// fuzzWorld is a world with resources that bodies refer to. If a body deletes one of them, prepare creates new ones.
type fuzzWorld struct {
	*world
	number                      int
	http, private, service, api string
	placeholders                *strings.Replacer // replaces the placeholders in bodies
}

func (s *fuzzWorld) prepare() {
	s.t.Helper()
	now, sc := s.db.Snapshot(), arn.Scope{Account: apitest.Account, Region: apitest.Region}
	_, noHTTP := registry.GetNamespace(now, sc, s.http)
	_, noAPI := registry.GetService(now, sc, s.api)
	_, noInstance := registry.GetInstance(now, registry.InstanceRef{Scope: sc, ServiceID: s.service, ID: "i-1"})
	if noHTTP == nil && noAPI == nil && noInstance == nil {
		return
	}
	s.number++
	name := fmt.Sprintf("fuzz%d.local", s.number)
	s.http, s.private = s.httpNamespace(name+".http"), s.privateNamespace(name, "vpc-1")
	s.service, s.api = s.world.service(s.private, "cart", "SRV 60, A 10, custom"), s.world.service(s.private, "api", "")
	op := s.register(s.service, "i-1", "IPV4=10.0.0.1 PORT=80 k=v")
	s.placeholders = strings.NewReplacer("$http", s.http, "$ns", s.private, "$name", name, "$srv", s.service, "$api",
		s.api, "$op", *op.Id)
}

// FuzzBodies sends signed bodies to all operations. The response must be a JSON object, an error must have a code of
// the API or of the protocol, and a rejected request must not write anything.
func FuzzBodies(f *testing.F) {
	operations := slices.Sorted(maps.Keys(validBodies))
	for k, operation := range operations {
		for _, body := range append([]string{validBodies[operation]}, malformedBodies...) {
			f.Add(uint8(k), body)
		}
	}
	script, err := os.ReadFile("testdata/wire.txt")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(script)) {
		operation, body, _ := strings.Cut(strings.TrimSpace(line), " ")
		if k, found := slices.BinarySearch(operations, operation); found {
			f.Add(uint8(k), strings.NewReplacer("$ns1", "$http", "$ns2", "$ns", "$srv1", "$srv", "$srv2", "$api",
				"$op1", "$op").Replace(body))
		}
	}
	s := &fuzzWorld{world: newWorld(f)}
	f.Fuzz(func(t *testing.T, k uint8, body string) {
		s.t = t
		s.prepare()
		operation := operations[int(k)%len(operations)]
		before := s.db.Snapshot().Rev()
		status, answer := s.send(operation, s.placeholders.Replace(body))
		var reply map[string]json.RawMessage
		if err := json.Unmarshal([]byte(answer), &reply); err != nil {
			t.Fatalf("%s answers %d, and the body is not a JSON object: %q", operation, status, answer)
		}
		if status == http.StatusOK {
			return
		}
		var code string
		if err := json.Unmarshal(reply["__type"], &code); err != nil || !errorCodes[code] ||
			status != http.StatusBadRequest {
			t.Fatalf("%s is rejected with %d %s", operation, status, answer)
		}
		if after := s.db.Snapshot().Rev(); after != before {
			t.Fatalf("%s is rejected but has written revision %d: %s", operation, after, answer)
		}
	})
}

// errorCodes are the codes that a signed request may receive.
var errorCodes = map[string]bool{
	"InvalidInput": true, "SerializationException": true,
	"NamespaceNotFound": true, "ServiceNotFound": true, "InstanceNotFound": true, "OperationNotFound": true,
	"CustomHealthNotFound": true, "NamespaceAlreadyExists": true, "ServiceAlreadyExists": true,
	"DuplicateRequest": true,
	"ResourceInUse":    true, "ResourceNotFoundException": true, "TooManyTagsException": true,
	"ServiceAttributesLimitExceededException": true,
}

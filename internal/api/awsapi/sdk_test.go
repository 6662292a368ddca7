package awsapi

import (
	"context"
	"net/http"
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/google/go-cmp/cmp"
)

// TestEveryMemberOfEveryOperation calls every operation of both SDK clients with every member set, and responds with
// every member set. It compares the members that the SDK's generated code encodes with those that the codec decodes,
// and the reverse. With a new version of the SDK, it finds members that the naming rule or the codec does not support.
func TestEveryMemberOfEveryOperation(t *testing.T) {
	cloudMap, containers := newCloudMap(), newECS()
	s := serve(t, cloudMap, containers)
	for _, tc := range []struct {
		service *Service
		client  any
		atLeast int // operations
	}{
		{cloudMap, s.cloudMap(root.provider()), 30},
		{containers, s.ecs(root.provider()), 77},
	} {
		calls := operationsOf(tc.client)
		if len(calls) < tc.atLeast {
			t.Errorf("found %d operations of %T, want at least %d", len(calls), tc.client, tc.atLeast)
		}
		for name, call := range calls {
			if name == "CreateGateway" {
				continue // the client requires a union, and no server has this operation
			}
			var received reflect.Value
			input, output := reflect.New(call.Type().In(1).Elem()), reflect.New(call.Type().Out(0).Elem())
			(&filler{}).fill(input.Elem())
			(&filler{}).fill(output.Elem())
			tc.service.add(input.Type().Elem(), func(_ context.Context, body, dst []byte) ([]byte, error) {
				received = reflect.New(input.Type().Elem())
				if err := tc.service.Naming.Decode(body, received.Interface()); err != nil {
					return nil, err
				}
				return tc.service.Naming.Append(dst, output.Interface()), nil
			})
			t.Run(name, func(t *testing.T) {
				results := call.Call([]reflect.Value{reflect.ValueOf(t.Context()), input})
				if err, _ := results[1].Interface().(error); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(input.Interface(), received.Interface(), sameMembers); diff != "" {
					t.Errorf("sent (-) and received (+):\n%s", diff)
				}
				if diff := cmp.Diff(output.Interface(), results[0].Interface(), sameMembers); diff != "" {
					t.Errorf("responded (-) and the SDK returned (+):\n%s", diff)
				}
				again := reflect.New(input.Type().Elem())
				if err := tc.service.Naming.Decode(tc.service.Naming.Append(nil, received.Interface()),
					again.Interface()); err != nil {
					t.Errorf("decode the encoded input: %v", err)
				}
				if diff := cmp.Diff(input.Interface(), again.Interface(), sameMembers); diff != "" {
					t.Errorf("sent (-), encoded and decoded again (+):\n%s", diff)
				}
			})
		}
	}
}

// operationsOf returns the methods of a client that are operations.
func operationsOf(client any) map[string]reflect.Value {
	calls := map[string]reflect.Value{}
	v := reflect.ValueOf(client)
	for i := range v.NumMethod() {
		if m := v.Method(i); m.Type().IsVariadic() && m.Type().NumIn() == 3 && m.Type().NumOut() == 2 {
			calls[v.Type().Method(i).Name] = m
		}
	}
	return calls
}

// TestRequestsOfClients checks that the variations of requests by SDK clients and by proxies do not invalidate the
// signature.
func TestRequestsOfClients(t *testing.T) {
	for _, tc := range []struct {
		name string
		path string // of the endpoint
		edit func(h http.Header)
	}{
		{"plain", "", nil},
		{"base path", "/aws", nil},
		{"base path that ends in a slash", "/aws/", nil},
		{"escaped base path", "/a%20b/ü/%2F+~", nil},
		{"spaces in a header", "", func(h http.Header) { h.Set("X-Note", "  a   b  ") }},
		{"one header twice", "", func(h http.Header) { h["X-Note"] = []string{"b", " a ", ""} }},
		{"charset", "", func(h http.Header) { h.Set("Content-Type", "application/x-amz-json-1.1; charset=utf-8") }},
		{"no content type", "", func(h http.Header) { h.Del("Content-Type") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			svc := newCloudMap()
			var caller Caller
			Handle(svc, func(ctx context.Context, in *sd.DiscoverInstancesInput) (*sd.DiscoverInstancesOutput, error) {
				caller = CallerFrom(ctx)
				return nil, nil
			})
			s := serve(t, svc)
			s.url += tc.path
			client := s.cloudMap(root.provider())
			if tc.edit != nil {
				client = sd.New(client.Options(), withHeaders(tc.edit))
			}
			in := &sd.DiscoverInstancesInput{NamespaceName: aws.String("n"), ServiceName: aws.String("s")}
			if _, err := client.DiscoverInstances(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			if caller.RequestID == "" || caller.InvocationID == "" {
				t.Errorf("caller lacks ids: %+v", caller)
			}
			caller.RequestID, caller.InvocationID = "", ""
			want := Caller{Account: account, Region: "eu-west-1", AccessKeyID: root.AccessKeyID, Role: Administrator}
			if caller != want {
				t.Errorf("caller is %+v, want %+v", caller, want)
			}
		})
	}
}

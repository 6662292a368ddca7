package awsapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-cmp/cmp"

	"github.com/bakingclouds/rollcall/internal/fault"
)

// withHeaders edits the headers of each request before a client signs it.
func withHeaders(edit func(http.Header)) func(*sd.Options) {
	step := middleware.BuildMiddlewareFunc("edit headers",
		func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput,
			middleware.Metadata, error) {
			edit(in.Request.(*smithyhttp.Request).Header)
			return next.HandleBuild(ctx, in)
		})
	return sd.WithAPIOptions(func(s *middleware.Stack) error { return s.Build.Add(step, middleware.After) })
}

// TestSDKReceivesErrors checks that the SDK returns the same error that a handler returned.
func TestSDKReceivesErrors(t *testing.T) {
	cloudMap, containers := newCloudMap(), newECS()
	for _, tc := range []struct {
		service   *Service
		operation string // an operation whose model has the error
		status    int
		err       error
	}{
		{cloudMap, "GetService", 400, &sdtypes.ServiceNotFound{Message: aws.String(`no "x"`)}},
		{cloudMap, "CreateService", 400, &sdtypes.ServiceAlreadyExists{Message: aws.String("m"),
			CreatorRequestId: aws.String("c"), ServiceId: aws.String("srv-1"), ServiceArn: aws.String("arn:1")}},
		{cloudMap, "CreateHttpNamespace", 400, &sdtypes.NamespaceAlreadyExists{Message: aws.String("m"),
			NamespaceId: aws.String("ns-1")}},
		{cloudMap, "RegisterInstance", 400, &sdtypes.DuplicateRequest{Message: aws.String("m"),
			DuplicateOperationId: aws.String("op")}},
		{cloudMap, "TagResource", 400, &sdtypes.TooManyTagsException{Message: aws.String("m"),
			ResourceName: aws.String("arn:1")}},
		{cloudMap, "DeleteService", 400, &sdtypes.ResourceInUse{Message: aws.String("m")}},
		{containers, "DescribeTasks", 400, &ecstypes.ClusterNotFoundException{
			Message: aws.String("Cluster not found.")}},
		{containers, "RunTask", 400, &ecstypes.ConflictException{Message: aws.String("m"),
			ResourceIds: []string{"a", "b"}}},
		{containers, "ListTasks", 500, &ecstypes.ServerException{Message: aws.String("m")}},
	} {
		t.Run(tc.operation, func(t *testing.T) {
			s := serve(t, cloudMap, containers)
			client := any(s.cloudMap(root.provider()))
			if tc.service == containers {
				client = s.ecs(root.provider())
			}
			call := operationsOf(client)[tc.operation]
			input := reflect.New(call.Type().In(1).Elem())
			(&filler{}).fill(input.Elem())
			tc.service.add(input.Type().Elem(), func(context.Context, []byte, []byte) ([]byte, error) {
				return nil, fmt.Errorf("wrapped: %w", tc.err)
			})
			err, _ := call.Call([]reflect.Value{reflect.ValueOf(t.Context()), input})[1].Interface().(error)

			var got smithy.APIError
			var response *awshttp.ResponseError
			if !errors.As(err, &got) || !errors.As(err, &response) {
				t.Fatalf("got %v", err)
			}
			if diff := cmp.Diff(tc.err, got, sameMembers); diff != "" {
				t.Errorf("the handler returned (-), the SDK returned (+):\n%s", diff)
			}
			if response.HTTPStatusCode() != tc.status || response.ServiceRequestID() == "" {
				t.Errorf("got %v, want status %d and a request id", err, tc.status)
			}
			if s.log.String() != "" {
				t.Errorf("an error meant for the client was logged: %s", s.log)
			}
		})
	}
}

func TestErrorTranslation(t *testing.T) {
	notFound := fault.New(fault.NotFound, "service", "service srv-1 does not exist")
	for _, tc := range []struct {
		name    string
		err     error
		status  int
		code    string
		message string
		logged  string
	}{
		{"fault with a wire error", notFound, 400, "ServiceNotFound", "service srv-1 does not exist", ""},
		{"wrapped", fmt.Errorf("list: %w", notFound), 400, "ServiceNotFound", "service srv-1 does not exist", ""},
		{"not a fault", errors.New("disk on fire at /dev/sda"), 500, "InternalFailure", internalFailure.Message,
			"disk on fire at /dev/sda"},
		{"fault without a wire error", fault.New(fault.Limit, "service", "quota of team x"), 500, "InternalFailure",
			internalFailure.Message, "quota of team x"},
		{"unavailable", fmt.Errorf("tx: %w", fault.New(fault.Unavailable, "store", "etcd has no leader")), 503,
			"ServiceUnavailable", "etcd has no leader", ""},
		{"error of the protocol", &Error{Code: "ThrottlingException", Message: "Rate exceeded"}, 400,
			"ThrottlingException",
			"Rate exceeded", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			svc := newCloudMap()
			svc.ErrorOf = func(err error) error {
				if fault.Is(err, fault.NotFound) {
					var f *fault.Error
					errors.As(err, &f)
					return &sdtypes.ServiceNotFound{Message: &f.Msg}
				}
				return nil
			}
			Handle(svc, func(context.Context, *sd.GetServiceInput) (*sd.GetServiceOutput, error) { return nil, tc.err })
			s := serve(t, svc)
			_, err := s.cloudMap(root.provider()).GetService(t.Context(), &sd.GetServiceInput{Id: aws.String("srv-1")})
			wantAPIError(t, err, tc.status, tc.code, tc.message)
			if got := s.log.String(); (got == "") != (tc.logged == "") || !strings.Contains(got, tc.logged) {
				t.Errorf("logged %q, want %q in it", got, tc.logged)
			}
		})
	}
}

func wantAPIError(t *testing.T, err error, status int, code, message string) {
	t.Helper()
	var api smithy.APIError
	var response *awshttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &response) {
		t.Fatalf("got %v, want %s", err, code)
	}
	if api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), message) {
		t.Errorf("got %s: %s\nwant %s: %s", api.ErrorCode(), api.ErrorMessage(), code, message)
	}
	if response.HTTPStatusCode() != status {
		t.Errorf("got status %d, want %d", response.HTTPStatusCode(), status)
	}
}

// TestUnavailableIsRetried checks that the SDK retries without the caller's help, and that all attempts of a call have
// the same invocation id.
func TestUnavailableIsRetried(t *testing.T) {
	svc := newCloudMap()
	var ids []string
	Handle(svc, func(ctx context.Context, _ *sd.GetServiceInput) (*sd.GetServiceOutput, error) {
		if ids = append(ids, CallerFrom(ctx).InvocationID); len(ids) == 1 {
			return nil, fault.New(fault.Unavailable, "store", "no leader")
		}
		return nil, nil
	})
	options := serve(t, svc).cloudMap(root.provider()).Options()
	options.RetryMaxAttempts = 0
	options.Retryer = noDelay{sd.New(sd.Options{Region: "eu-west-1"}).Options().Retryer}
	if _, err := sd.New(options).GetService(t.Context(), &sd.GetServiceInput{Id: aws.String("srv-1")}); err != nil {
		t.Fatal(err)
	}
	if len(ids) != 2 || ids[0] == "" || ids[0] != ids[1] {
		t.Errorf("invocation ids of the attempts: %q, want one id twice", ids)
	}
}

// noDelay is the SDK's standard retryer without its delays.
type noDelay struct{ aws.Retryer }

func (noDelay) RetryDelay(int, error) (time.Duration, error) { return 0, nil }

func TestPanicBecomesAnError(t *testing.T) {
	svc := newCloudMap()
	Handle(svc, func(context.Context, *sd.GetServiceInput) (*sd.GetServiceOutput, error) { panic("secret detail") })
	Handle(svc, func(context.Context, *sd.GetNamespaceInput) (*sd.GetNamespaceOutput, error) {
		return nil, errors.New("unnamed")
	})
	svc.ErrorOf = func(error) error { panic("secret detail of ErrorOf") }
	s := serve(t, svc)
	client := s.cloudMap(root.provider())
	for range 2 { // the server and the connection survive
		_, err := client.GetService(t.Context(), &sd.GetServiceInput{Id: aws.String("x")})
		wantAPIError(t, err, 500, "InternalFailure", internalFailure.Message)
		_, err = client.GetNamespace(t.Context(), &sd.GetNamespaceInput{Id: aws.String("x")})
		wantAPIError(t, err, 500, "InternalFailure", internalFailure.Message)
	}
	if log := s.log.String(); !strings.Contains(log, "secret detail") || !strings.Contains(log, "handler_test.go") {
		t.Errorf("the log lacks the panic and its stack: %s", log)
	}
}

func TestReadOnlyKeys(t *testing.T) {
	svc := newCloudMap()
	Handle(svc, func(context.Context, *sd.ListServicesInput) (*sd.ListServicesOutput, error) { return nil, nil })
	Handle(svc, func(context.Context, *sd.DeleteServiceInput) (*sd.DeleteServiceOutput, error) {
		t.Error("a read-only key deleted a service")
		return nil, nil
	})
	client := serve(t, svc).cloudMap(guest.provider())
	if _, err := client.ListServices(t.Context(), &sd.ListServicesInput{}); err != nil {
		t.Error(err)
	}
	_, err := client.DeleteService(t.Context(), &sd.DeleteServiceInput{Id: aws.String("x")})
	wantAPIError(t, err, 400, "AccessDeniedException",
		"Access key AKIAGUEST is not authorized to perform servicediscovery:DeleteService")
}

func TestPermits(t *testing.T) {
	for operation, want := range map[string]bool{
		"GetNamespace": true, "ListServices": true, "DescribeTasks": true, "DiscoverInstances": true,
		"TestState": true, "CreateService": false, "ExecuteCommand": false, "TagResource": false, "": false,
	} {
		if got := ReadOnly.permits(operation); got != want {
			t.Errorf("read-only permits %q: %t, want %t", operation, got, want)
		}
		if got := Workload.permits(operation); got != want {
			t.Errorf("workload permits %q: %t, want %t", operation, got, want)
		}
		if !Administrator.permits(operation) || Role(0).permits(operation) {
			t.Errorf("%q: want it permitted for an administrator and forbidden for the zero role", operation)
		}
	}
	for _, operation := range []string{"GetLogs", "GetLogEvents", "FilterLogEvents", "DescribeLogGroups",
		"DescribeLogStreams"} {
		if !ReadOnly.permits(operation) || Workload.permits(operation) {
			t.Errorf("%q: want it permitted for read-only keys and forbidden for workloads", operation)
		}
	}
}

// TestResponses sends requests that no SDK sends.
func TestResponses(t *testing.T) {
	const get = "Route53AutoNaming_v20170314.GetService"
	svc := newCloudMap()
	Handle(svc, func(context.Context, *sd.GetServiceInput) (*sd.GetServiceOutput, error) { return nil, nil })
	for _, tc := range []struct {
		name, target, body string
		edit               func(*http.Request)
		status             int
		want               string // the code, or the body
	}{
		{"empty body", get, "", nil, 200, "{}"},
		{"not UTF-8", get, "\x00\xff", nil, 400, "SerializationException"},
		{"wrong type", get, `{"Id":1}`, nil, 400, "SerializationException"},
		{"unknown operation", "Route53AutoNaming_v20170314.Nope", "{}", nil, 400, "UnknownOperationException"},
		{"operation in lower case", "Route53AutoNaming_v20170314.getservice", "{}", nil, 400,
			"UnknownOperationException"},
		{"unknown API", "Nope.GetService", "{}", nil, 400, "UnknownOperationException"},
		{"no target", "", "{}", nil, 400, "UnknownOperationException"},
		{"no dot", "Route53AutoNaming_v20170314", "{}", nil, 400, "UnknownOperationException"},
		{"GET", get, "", func(r *http.Request) { r.Method = http.MethodGet }, 400, "UnknownOperationException"},
		{"other path and host", get, "{}", func(r *http.Request) { r.URL.Path, r.Host = "/some/where", "data-x" }, 200,
			"{}"},
		{"largest body", get, "{" + strings.Repeat(" ", DefaultMaxBody-2) + "}", nil, 200, "{}"},
		{"body too large", get, "{" + strings.Repeat(" ", DefaultMaxBody-1) + "}", nil, 413,
			"RequestEntityTooLargeException"},
		{"body too large, of unknown length", get, strings.Repeat(" ", DefaultMaxBody+1),
			func(r *http.Request) { r.ContentLength = -1 }, 413, "RequestEntityTooLargeException"},
		{"body of unknown length", get, "{}", func(r *http.Request) { r.ContentLength = -1 }, 200, "{}"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := responseTo(t, signed(t, root.credentials(), tc.target, tc.body, tc.edit), svc)
			if w.Code != tc.status {
				t.Errorf("status %d, want %d", w.Code, tc.status)
			}
			if got := w.Header().Get("Content-Type"); got != "application/x-amz-json-1.1" {
				t.Errorf("Content-Type %q", got)
			}
			if w.Header().Get("x-amzn-RequestId") == "" {
				t.Error("no request id")
			}
			if got := errorText(t, w.Body.Bytes()); !strings.HasPrefix(got, tc.want) {
				t.Errorf("body %s, want %s", w.Body, tc.want)
			}
		})
	}
}

// errorText returns "CODE: message" for the body of an error, and any other body unchanged.
func errorText(t *testing.T, body []byte) string {
	t.Helper()
	var e struct {
		Code    string `json:"__type"`
		Message string
		Lower   string `json:"message"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if e.Code == "" {
		return string(body)
	}
	if e.Message == "" || e.Message != e.Lower {
		t.Errorf("Message and message differ or are missing: %s", body)
	}
	return e.Code + ": " + e.Message
}

func TestHandlePanicsOnProgrammingErrors(t *testing.T) {
	svc := newCloudMap()
	ok := func(context.Context, *sd.GetServiceInput) (*sd.GetServiceOutput, error) { return nil, nil }
	Handle(svc, ok)
	for name, wiring := range map[string]func(){
		"twice": func() { Handle(svc, ok) },
		"name": func() {
			Handle(svc, func(context.Context, *shape) (*sd.GetServiceOutput, error) {
				return nil, nil
			})
		},
		"no form on wire":   func() { codecOf(timeChannelType, UpperCamel) },
		"keys not a string": func() { codecOf(intMapType, UpperCamel) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			wiring()
		})
	}
}

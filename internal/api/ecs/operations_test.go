package ecs_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

// TestEveryOperation calls each operation of the SDK with an empty request. All operations must exist, and may fail
// only with an error that ECS has.
func TestEveryOperation(t *testing.T) {
	api := newAPI(t)
	unchecked := func(o *sdk.Options) {
		o.APIOptions = append(o.APIOptions, func(s *middleware.Stack) error {
			_, err := s.Initialize.Remove("OperationInputValidation")
			if err != nil && strings.Contains(err.Error(), "not found") {
				return nil // the operation has no required members
			}
			return err
		})
	}
	client := reflect.ValueOf(api.Client)
	n := 0
	for i := range client.NumMethod() {
		m, name := client.Method(i), client.Type().Method(i).Name
		if m.Type().NumIn() != 3 || !m.Type().IsVariadic() {
			continue // not an operation
		}
		n++
		out := m.Call([]reflect.Value{reflect.ValueOf(t.Context()), reflect.New(m.Type().In(1).Elem()),
			reflect.ValueOf(unchecked)})
		err, _ := out[1].Interface().(error)
		if err == nil {
			continue
		}
		var api smithy.APIError
		switch {
		case !errors.As(err, &api):
			t.Errorf("%s: %v", name, err)
		case !strings.HasSuffix(reflect.TypeOf(api).Elem().Name(), "Exception"), api.ErrorCode() == "ServerException":
			t.Errorf("%s: %s: %s", name, api.ErrorCode(), api.ErrorMessage())
		}
	}
	if n < 80 {
		t.Errorf("only %d operations were called", n)
	}
}

// TestUnsupported checks the errors of operations that always fail.
func TestUnsupported(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	wantError(api.DiscoverPollEndpoint(ctx, &sdk.DiscoverPollEndpointInput{}))(t,
		"AccessDenied: Agent operations are internal to this server.")
	wantError(api.UpdateContainerAgent(ctx, &sdk.UpdateContainerAgentInput{ContainerInstance: aws.String("i")}))(t,
		"NoUpdateAvailable: There is no update available for your container agent.")
	wantError(api.ListDaemons(ctx, &sdk.ListDaemonsInput{}))(t,
		"UnsupportedFeature: Managed daemons are not supported by this server.")
	api.createService("default", "web")
	wantError(api.DescribeTaskSets(ctx, &sdk.DescribeTaskSetsInput{Cluster: aws.String("default"),
		Service: aws.String("web")}))(t,
		"InvalidParameter: Task sets are for services with the deployment controller EXTERNAL; "+
			"the service web has ECS.")
	wantError(api.DescribeTaskSets(ctx, &sdk.DescribeTaskSetsInput{Cluster: aws.String("default"),
		Service: aws.String("none")}))(t, "ServiceNotFound: Service not found.")
	wantError(api.ListGateways(ctx, &sdk.ListGatewaysInput{}))(t,
		"UnsupportedFeature: Gateways are not supported by this server.")
	wantError(api.ContinueServiceDeployment(ctx, &sdk.ContinueServiceDeploymentInput{ServiceDeploymentArn: aws.String("d"),
		HookId: aws.String("h")}))(t, "UnsupportedFeature: Deployment lifecycle hooks are not supported...")
}

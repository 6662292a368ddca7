package ecs

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/task"
)

// registerUnsupported registers operations that always fail: those of AWS's container agent, and features that Rollcall
// does not have. Their errors tell a client more than UnknownOperationException would.
func registerUnsupported(s *awsapi.Service) {
	agent := &types.AccessDeniedException{Message: aws.String("Agent operations are internal to this server.")}
	fail[sdk.DiscoverPollEndpointInput, sdk.DiscoverPollEndpointOutput](s, agent)
	fail[sdk.SubmitTaskStateChangeInput, sdk.SubmitTaskStateChangeOutput](s, agent)
	fail[sdk.SubmitContainerStateChangeInput, sdk.SubmitContainerStateChangeOutput](s, agent)
	fail[sdk.SubmitAttachmentStateChangesInput, sdk.SubmitAttachmentStateChangesOutput](s, agent)
	fail[sdk.RegisterContainerInstanceInput, sdk.RegisterContainerInstanceOutput](s, agent)
	fail[sdk.UpdateContainerAgentInput, sdk.UpdateContainerAgentOutput](s, &types.NoUpdateAvailableException{
		Message: aws.String("There is no update available for your container agent."),
	})
	registerDaemons(s)

	express := ecserr.Unsupported("Express services are not supported by this server.")
	fail[sdk.CreateExpressGatewayServiceInput, sdk.CreateExpressGatewayServiceOutput](s, express)
	fail[sdk.UpdateExpressGatewayServiceInput, sdk.UpdateExpressGatewayServiceOutput](s, express)
	fail[sdk.DescribeExpressGatewayServiceInput, sdk.DescribeExpressGatewayServiceOutput](s, express)
	fail[sdk.DeleteExpressGatewayServiceInput, sdk.DeleteExpressGatewayServiceOutput](s, express)

	fail[sdk.ContinueServiceDeploymentInput, sdk.ContinueServiceDeploymentOutput](s, ecserr.Unsupported(
		"Deployment lifecycle hooks are not supported by this server, so no deployment waits to be continued."))
	registerGateways(s)
}

// registerDaemons registers the operations of managed daemons.
func registerDaemons(s *awsapi.Service) {
	daemons := ecserr.Unsupported("Managed daemons are not supported by this server.")
	fail[sdk.CreateDaemonInput, sdk.CreateDaemonOutput](s, daemons)
	fail[sdk.UpdateDaemonInput, sdk.UpdateDaemonOutput](s, daemons)
	fail[sdk.DeleteDaemonInput, sdk.DeleteDaemonOutput](s, daemons)
	fail[sdk.DescribeDaemonInput, sdk.DescribeDaemonOutput](s, daemons)
	fail[sdk.ListDaemonsInput, sdk.ListDaemonsOutput](s, daemons)
	fail[sdk.DescribeDaemonDeploymentsInput, sdk.DescribeDaemonDeploymentsOutput](s, daemons)
	fail[sdk.ListDaemonDeploymentsInput, sdk.ListDaemonDeploymentsOutput](s, daemons)
	fail[sdk.DescribeDaemonRevisionsInput, sdk.DescribeDaemonRevisionsOutput](s, daemons)
	fail[sdk.RegisterDaemonTaskDefinitionInput, sdk.RegisterDaemonTaskDefinitionOutput](s, daemons)
	fail[sdk.DescribeDaemonTaskDefinitionInput, sdk.DescribeDaemonTaskDefinitionOutput](s, daemons)
	fail[sdk.ListDaemonTaskDefinitionsInput, sdk.ListDaemonTaskDefinitionsOutput](s, daemons)
	fail[sdk.DeleteDaemonTaskDefinitionInput, sdk.DeleteDaemonTaskDefinitionOutput](s, daemons)
}

// registerGateways registers the operations of gateways. They are in AWS's model, but not yet in its documentation.
func registerGateways(s *awsapi.Service) {
	gateways := ecserr.Unsupported("Gateways are not supported by this server.")
	fail[sdk.CreateGatewayInput, sdk.CreateGatewayOutput](s, gateways)
	fail[sdk.UpdateGatewayInput, sdk.UpdateGatewayOutput](s, gateways)
	fail[sdk.DeleteGatewayInput, sdk.DeleteGatewayOutput](s, gateways)
	fail[sdk.DescribeGatewayInput, sdk.DescribeGatewayOutput](s, gateways)
	fail[sdk.DescribeGatewayResourcesInput, sdk.DescribeGatewayResourcesOutput](s, gateways)
	fail[sdk.DescribeGatewayRouteInput, sdk.DescribeGatewayRouteOutput](s, gateways)
	fail[sdk.ListGatewaysInput, sdk.ListGatewaysOutput](s, gateways)
	fail[sdk.ListGatewayRoutesInput, sdk.ListGatewayRoutesOutput](s, gateways)
	fail[sdk.ListGatewayClusterAssociationsInput, sdk.ListGatewayClusterAssociationsOutput](s, gateways)
	fail[sdk.AssociateGatewayWithClusterInput, sdk.AssociateGatewayWithClusterOutput](s, gateways)
	fail[sdk.DisassociateGatewayFromClusterInput, sdk.DisassociateGatewayFromClusterOutput](s, gateways)
}

// fail registers an operation that returns err for every input.
func fail[I, O any](s *awsapi.Service, err error) {
	awsapi.Handle(s, func(context.Context, *I) (*O, error) { return nil, err })
}

// registerTaskSets registers the operations of task sets. Only services with the deployment controller EXTERNAL have
// task sets, and Rollcall has no such services, so the operations fail as they do at AWS for any other service.
func (a *api) registerTaskSets(s *awsapi.Service) {
	awsapi.Handle(s, func(ctx context.Context, in *sdk.CreateTaskSetInput) (*sdk.CreateTaskSetOutput, error) {
		return nil, a.taskSetError(ctx, in.Cluster, in.Service)
	})
	awsapi.Handle(s, func(ctx context.Context, in *sdk.DescribeTaskSetsInput) (*sdk.DescribeTaskSetsOutput, error) {
		return nil, a.taskSetError(ctx, in.Cluster, in.Service)
	})
	awsapi.Handle(s, func(ctx context.Context, in *sdk.UpdateTaskSetInput) (*sdk.UpdateTaskSetOutput, error) {
		return nil, a.taskSetError(ctx, in.Cluster, in.Service)
	})
	awsapi.Handle(s, func(ctx context.Context, in *sdk.UpdateServicePrimaryTaskSetInput) (
		*sdk.UpdateServicePrimaryTaskSetOutput, error,
	) {
		return nil, a.taskSetError(ctx, in.Cluster, in.Service)
	})
	awsapi.Handle(s, func(ctx context.Context, in *sdk.DeleteTaskSetInput) (*sdk.DeleteTaskSetOutput, error) {
		return nil, a.taskSetError(ctx, in.Cluster, in.Service)
	})
}

// taskSetError returns the error of an operation on the task sets of a service. It is never nil.
func (a *api) taskSetError(ctx context.Context, cluster, service *string) error {
	r := a.db.Snapshot()
	ref, err := activeCluster(r, awsapi.ScopeFrom(ctx), cluster)
	if err != nil {
		return err
	}
	id, err := identifier.ParseIn(ref, identifier.Service, aws.ToString(service))
	if err != nil {
		return err
	}
	if _, err := task.GetService(r, id.ServiceRef()); err != nil {
		return err
	}
	return ecserr.Invalid("Task sets are for services with the deployment controller EXTERNAL; the service %s has ECS.",
		id.Name)
}

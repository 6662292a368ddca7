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

// refuse registers the operations that exist to say no, with a typed error that tells a client more than
// UnknownOperationException would: those of AWS's own container agent, and features with no meaning here.
func refuse(s *awsapi.Service) {
	agent := &types.AccessDeniedException{Message: aws.String("Agent operations are internal to this server.")}
	no[sdk.DiscoverPollEndpointInput, sdk.DiscoverPollEndpointOutput](s, agent)
	no[sdk.SubmitTaskStateChangeInput, sdk.SubmitTaskStateChangeOutput](s, agent)
	no[sdk.SubmitContainerStateChangeInput, sdk.SubmitContainerStateChangeOutput](s, agent)
	no[sdk.SubmitAttachmentStateChangesInput, sdk.SubmitAttachmentStateChangesOutput](s, agent)
	no[sdk.RegisterContainerInstanceInput, sdk.RegisterContainerInstanceOutput](s, agent)
	no[sdk.UpdateContainerAgentInput, sdk.UpdateContainerAgentOutput](s, &types.NoUpdateAvailableException{
		Message: aws.String("There is no update available for your container agent."),
	})

	daemons := ecserr.Unsupported("Managed daemons are not supported by this server.")
	no[sdk.CreateDaemonInput, sdk.CreateDaemonOutput](s, daemons)
	no[sdk.UpdateDaemonInput, sdk.UpdateDaemonOutput](s, daemons)
	no[sdk.DeleteDaemonInput, sdk.DeleteDaemonOutput](s, daemons)
	no[sdk.DescribeDaemonInput, sdk.DescribeDaemonOutput](s, daemons)
	no[sdk.ListDaemonsInput, sdk.ListDaemonsOutput](s, daemons)
	no[sdk.DescribeDaemonDeploymentsInput, sdk.DescribeDaemonDeploymentsOutput](s, daemons)
	no[sdk.ListDaemonDeploymentsInput, sdk.ListDaemonDeploymentsOutput](s, daemons)
	no[sdk.DescribeDaemonRevisionsInput, sdk.DescribeDaemonRevisionsOutput](s, daemons)
	no[sdk.RegisterDaemonTaskDefinitionInput, sdk.RegisterDaemonTaskDefinitionOutput](s, daemons)
	no[sdk.DescribeDaemonTaskDefinitionInput, sdk.DescribeDaemonTaskDefinitionOutput](s, daemons)
	no[sdk.ListDaemonTaskDefinitionsInput, sdk.ListDaemonTaskDefinitionsOutput](s, daemons)
	no[sdk.DeleteDaemonTaskDefinitionInput, sdk.DeleteDaemonTaskDefinitionOutput](s, daemons)

	express := ecserr.Unsupported("Express services are not supported by this server.")
	no[sdk.CreateExpressGatewayServiceInput, sdk.CreateExpressGatewayServiceOutput](s, express)
	no[sdk.UpdateExpressGatewayServiceInput, sdk.UpdateExpressGatewayServiceOutput](s, express)
	no[sdk.DescribeExpressGatewayServiceInput, sdk.DescribeExpressGatewayServiceOutput](s, express)
	no[sdk.DeleteExpressGatewayServiceInput, sdk.DeleteExpressGatewayServiceOutput](s, express)

	no[sdk.ContinueServiceDeploymentInput, sdk.ContinueServiceDeploymentOutput](s,
		ecserr.Unsupported("Deployment lifecycle hooks are not supported by this server, so that no deployment waits to be continued."))
	refuseGateways(s)
}

// gateways are newer than AWS's documentation of them.
func refuseGateways(s *awsapi.Service) {
	gateways := ecserr.Unsupported("Gateways are not supported by this server.")
	no[sdk.CreateGatewayInput, sdk.CreateGatewayOutput](s, gateways)
	no[sdk.UpdateGatewayInput, sdk.UpdateGatewayOutput](s, gateways)
	no[sdk.DeleteGatewayInput, sdk.DeleteGatewayOutput](s, gateways)
	no[sdk.DescribeGatewayInput, sdk.DescribeGatewayOutput](s, gateways)
	no[sdk.DescribeGatewayResourcesInput, sdk.DescribeGatewayResourcesOutput](s, gateways)
	no[sdk.DescribeGatewayRouteInput, sdk.DescribeGatewayRouteOutput](s, gateways)
	no[sdk.ListGatewaysInput, sdk.ListGatewaysOutput](s, gateways)
	no[sdk.ListGatewayRoutesInput, sdk.ListGatewayRoutesOutput](s, gateways)
	no[sdk.ListGatewayClusterAssociationsInput, sdk.ListGatewayClusterAssociationsOutput](s, gateways)
	no[sdk.AssociateGatewayWithClusterInput, sdk.AssociateGatewayWithClusterOutput](s, gateways)
	no[sdk.DisassociateGatewayFromClusterInput, sdk.DisassociateGatewayFromClusterOutput](s, gateways)
}

// no answers an operation with err, whatever its input.
func no[I, O any](s *awsapi.Service, err error) {
	awsapi.Handle(s, func(context.Context, *I) (*O, error) { return nil, err })
}

// refuseTaskSets registers the operations of task sets. They are for services of the deployment controller
// EXTERNAL, which there are none of, so that each ends where AWS's ends for any other service.
func (a *api) refuseTaskSets(s *awsapi.Service) {
	awsapi.Handle(s, func(ctx context.Context, in *sdk.CreateTaskSetInput) (*sdk.CreateTaskSetOutput, error) {
		return nil, a.noTaskSets(ctx, in.Cluster, in.Service)
	})
	awsapi.Handle(s, func(ctx context.Context, in *sdk.DescribeTaskSetsInput) (*sdk.DescribeTaskSetsOutput, error) {
		return nil, a.noTaskSets(ctx, in.Cluster, in.Service)
	})
	awsapi.Handle(s, func(ctx context.Context, in *sdk.UpdateTaskSetInput) (*sdk.UpdateTaskSetOutput, error) {
		return nil, a.noTaskSets(ctx, in.Cluster, in.Service)
	})
	awsapi.Handle(s, func(ctx context.Context, in *sdk.UpdateServicePrimaryTaskSetInput) (*sdk.UpdateServicePrimaryTaskSetOutput, error) {
		return nil, a.noTaskSets(ctx, in.Cluster, in.Service)
	})
	awsapi.Handle(s, func(ctx context.Context, in *sdk.DeleteTaskSetInput) (*sdk.DeleteTaskSetOutput, error) {
		return nil, a.noTaskSets(ctx, in.Cluster, in.Service)
	})
}

// noTaskSets is why a service has no task sets.
func (a *api) noTaskSets(ctx context.Context, cluster, service *string) error {
	sc, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	name, err := activeCluster(r, sc, cluster)
	if err != nil {
		return err
	}
	id, err := identifier.ParseIn(sc, name, "service", aws.ToString(service))
	if err != nil {
		return err
	}
	if _, err := task.GetService(r, task.ServiceRef{Scope: sc, Cluster: name, Name: id.Name}); err != nil {
		return err
	}
	return ecserr.Invalid("Task sets are for services with the deployment controller EXTERNAL; the service %s has ECS.", id.Name)
}

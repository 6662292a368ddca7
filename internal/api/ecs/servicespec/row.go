package servicespec

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/task"
)

// Of returns the current Spec of a service. The members of a service revision come from the primary deployment: after a
// rollback they differ from those of the last update. The desired count comes from the row, which also changes without
// a request.
func Of(svc *task.Service) (*Spec, error) {
	spec, err := codec.Decode[Spec]("service "+svc.Name, svc.Sent)
	if err != nil {
		return nil, err
	}
	if spec.DesiredCount = nil; !svc.Daemon {
		spec.DesiredCount = aws.Int32(int32(svc.DesiredCount))
	}
	if len(svc.Deployments) == 0 || len(svc.Primary().Sent) == 0 {
		return spec, nil
	}
	revision, err := codec.Decode[Spec]("deployment "+svc.Primary().ID, svc.Primary().Sent)
	if err != nil {
		return nil, err
	}
	copyRevision(spec, revision)
	return spec, nil
}

// SetRow writes a Spec to the row of a service that runs def.
func SetRow(svc *task.Service, def *task.Definition, spec Spec) {
	spec.TaskDefinition = aws.String(def.ARN())
	spec.Tags = nil // TagResource changes the tags of the row
	svc.LaunchType = string(LaunchType(&spec))
	svc.PropagateTags = string(spec.PropagateTags)
	svc.ManagedTags = spec.EnableECSManagedTags
	svc.ExecuteCommand = spec.EnableExecuteCommand
	if svc.Daemon = isDaemon(&spec); !svc.Daemon { // the nodes determine the count of a daemon service
		svc.DesiredCount = int(*spec.DesiredCount)
	}
	svc.Breaker = BreakerRow(spec.DeploymentConfiguration.DeploymentCircuitBreaker)
	svc.MinimumHealthy = int(*spec.DeploymentConfiguration.MinimumHealthyPercent)
	svc.Maximum = int(*spec.DeploymentConfiguration.MaximumPercent)
	svc.Constraints = ConstraintRows(spec.PlacementConstraints)
	svc.Placement = PlacementRows(spec.PlacementStrategy)
	svc.GracePeriod = time.Duration(*spec.HealthCheckGracePeriodSeconds) * time.Second
	svc.Sent = codec.Encode(&spec)
}

// NewDeployment returns a deployment of def that starts now.
func NewDeployment(
	id string, def *task.Definition, spec *Spec, registries []task.Registry, now time.Time,
) task.Deployment {
	return task.NewDeployment(task.Deployment{
		ID:         id,
		Family:     def.Family,
		Revision:   def.Revision,
		Network:    NetworkRow(spec),
		Registries: registries,
		Sent:       encodeRevision(def, spec),
		Strategy:   StrategyRow(spec.CapacityProviderStrategy),
		LaunchType: string(LaunchType(spec)),
	}, now)
}

// encodeRevision encodes the members that make a service revision. A deployment of def keeps them.
func encodeRevision(def *task.Definition, spec *Spec) []byte {
	var revision Spec
	copyRevision(&revision, spec)
	revision.TaskDefinition = aws.String(def.ARN())
	return codec.Encode(&revision)
}

// copyRevision copies the members that make a service revision.
func copyRevision(to, from *Spec) {
	to.TaskDefinition = from.TaskDefinition
	to.LaunchType = from.LaunchType
	to.CapacityProviderStrategy = from.CapacityProviderStrategy
	to.PlatformVersion = from.PlatformVersion
	to.NetworkConfiguration = from.NetworkConfiguration
	to.LoadBalancers = from.LoadBalancers
	to.ServiceRegistries = from.ServiceRegistries
	to.ServiceConnectConfiguration = from.ServiceConnectConfiguration
	to.Monitoring = from.Monitoring
	to.VolumeConfigurations = from.VolumeConfigurations
	to.VpcLatticeConfigurations = from.VpcLatticeConfigurations
	to.GatewayConnectors = from.GatewayConnectors
}

// NetworkRow returns the awsvpc configuration as rows store it, or nil if there is none.
func NetworkRow(spec *Spec) *task.Network {
	if spec.NetworkConfiguration == nil || spec.NetworkConfiguration.AwsvpcConfiguration == nil {
		return nil
	}
	c := spec.NetworkConfiguration.AwsvpcConfiguration
	return &task.Network{
		Subnets: c.Subnets, SecurityGroups: c.SecurityGroups, AssignPublicIP: string(c.AssignPublicIp),
	}
}

// BreakerRow returns a deployment circuit breaker in the form that rows have, or nil if it is not enabled.
func BreakerRow(breaker *types.DeploymentCircuitBreaker) *task.Breaker {
	if breaker == nil || !breaker.Enable {
		return nil
	}
	row := &task.Breaker{
		Rollback:   breaker.Rollback,
		Cumulative: breaker.ResetOnHealthyTask != nil && !*breaker.ResetOnHealthyTask,
	}
	if threshold := breaker.ThresholdConfiguration; threshold != nil {
		row.Type, row.Value = string(threshold.Type), int(threshold.Value)
	}
	return row
}

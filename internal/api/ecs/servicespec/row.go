package servicespec

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/task"
)

// Network is the awsvpc configuration of the settings, nil if there is none.
func Network(s *Spec) *task.Network {
	if s.NetworkConfiguration == nil || s.NetworkConfiguration.AwsvpcConfiguration == nil {
		return nil
	}
	c := s.NetworkConfiguration.AwsvpcConfiguration
	return &task.Network{Subnets: c.Subnets, SecurityGroups: c.SecurityGroups, AssignPublicIP: string(c.AssignPublicIp)}
}

// NewDeployment is one of a service with these settings that begins now.
func NewDeployment(id string, def *task.Definition, s *Spec, registries []task.Registry, now time.Time) task.Deployment {
	return task.NewDeployment(task.Deployment{
		ID: id, Family: def.Family, Revision: def.Revision, Network: Network(s), Registries: registries, Sent: Revision(def, s),
		Strategy: StrategyRow(s.CapacityProviderStrategy), LaunchType: string(LaunchType(s)),
	}, now)
}

// layRevision gives s those members of r that make a service revision.
func layRevision(s, r *Spec) {
	s.TaskDefinition, s.LaunchType, s.CapacityProviderStrategy = r.TaskDefinition, r.LaunchType, r.CapacityProviderStrategy
	s.PlatformVersion, s.NetworkConfiguration = r.PlatformVersion, r.NetworkConfiguration
	s.LoadBalancers, s.ServiceRegistries = r.LoadBalancers, r.ServiceRegistries
	s.ServiceConnectConfiguration, s.Monitoring = r.ServiceConnectConfiguration, r.Monitoring
	s.VolumeConfigurations, s.VpcLatticeConfigurations, s.GatewayConnectors = r.VolumeConfigurations, r.VpcLatticeConfigurations, r.GatewayConnectors
}

// Revision are the members that make a service revision, as a deployment of def keeps them.
func Revision(def *task.Definition, s *Spec) []byte {
	var r Spec
	layRevision(&r, s)
	r.TaskDefinition = aws.String(def.ARN())
	return codec.Encode(&r)
}

// Of are a service's settings. What makes a revision is what its primary deployment says: after a
// rollback that is not what the last update has said.
func Of(svc *task.Service) (*Spec, error) {
	s, err := codec.Decode[Spec]("service "+svc.Name, svc.Sent)
	if err != nil || len(svc.Deployments) == 0 || len(svc.Primary().Sent) == 0 {
		return s, err
	}
	r, err := codec.Decode[Spec]("deployment "+svc.Primary().ID, svc.Primary().Sent)
	if err != nil {
		return nil, err
	}
	layRevision(s, r)
	return s, nil
}

// Breaker is a deployment circuit breaker as the rollout loop knows it; nil is none.
func Breaker(c *types.DeploymentCircuitBreaker) *task.Breaker {
	if c == nil || !c.Enable {
		return nil
	}
	b := &task.Breaker{Rollback: c.Rollback, Cumulative: c.ResetOnHealthyTask != nil && !*c.ResetOnHealthyTask}
	if t := c.ThresholdConfiguration; t != nil {
		b.Type, b.Value = string(t.Type), int(t.Value)
	}
	return b
}

// Keep writes settings into the row of a service that runs def.
func Keep(svc *task.Service, def *task.Definition, s Spec) {
	s.TaskDefinition = aws.String(def.ARN())
	s.Tags = nil // the row has them, and they change
	svc.LaunchType = string(LaunchType(&s))
	svc.PropagateTags, svc.ManagedTags, svc.ExecuteCommand = string(s.PropagateTags), s.EnableECSManagedTags, s.EnableExecuteCommand
	if svc.Daemon = s.SchedulingStrategy == types.SchedulingStrategyDaemon; !svc.Daemon { // whose count its nodes make
		svc.DesiredCount = int(*s.DesiredCount)
	}
	svc.Breaker = Breaker(s.DeploymentConfiguration.DeploymentCircuitBreaker)
	svc.MinimumHealthy = int(*s.DeploymentConfiguration.MinimumHealthyPercent)
	svc.Maximum = int(*s.DeploymentConfiguration.MaximumPercent)
	svc.Constraints, svc.Placement = ConstraintRows(s.PlacementConstraints), StrategyRows(s.PlacementStrategy)
	svc.GracePeriod = time.Duration(*s.HealthCheckGracePeriodSeconds) * time.Second
	svc.Sent = codec.Encode(&s)
}

package servicespec

import (
	"slices"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/overlay"
	"github.com/bakingclouds/rollcall/internal/task"
)

// Overlay puts the members that an update has over those of the settings. An empty list removes, an absent
// one keeps.
func Overlay(s *Spec, in *sdk.UpdateServiceInput) {
	overlay.Value(&s.DesiredCount, in.DesiredCount)
	overlay.Value(&s.HealthCheckGracePeriodSeconds, in.HealthCheckGracePeriodSeconds)
	overlay.Value(&s.NetworkConfiguration, in.NetworkConfiguration)
	overlay.Value(&s.PlatformVersion, in.PlatformVersion)
	overlay.Value(&s.DeploymentController, in.DeploymentController)
	overlay.Value(&s.ServiceConnectConfiguration, in.ServiceConnectConfiguration)
	overlay.Value(&s.Monitoring, in.Monitoring)
	if in.TaskDefinition != nil {
		s.TaskDefinition = in.TaskDefinition
	}
	if in.EnableECSManagedTags != nil {
		s.EnableECSManagedTags = *in.EnableECSManagedTags
	}
	if in.EnableExecuteCommand != nil {
		s.EnableExecuteCommand = *in.EnableExecuteCommand
	}
	if in.PropagateTags != "" {
		s.PropagateTags = in.PropagateTags
	}
	if in.AvailabilityZoneRebalancing != "" {
		s.AvailabilityZoneRebalancing = in.AvailabilityZoneRebalancing
	}
	overlay.List(&s.ServiceRegistries, in.ServiceRegistries)
	overlay.List(&s.LoadBalancers, in.LoadBalancers)
	overlay.List(&s.PlacementConstraints, in.PlacementConstraints)
	overlay.List(&s.PlacementStrategy, in.PlacementStrategy)
	overlayStrategy(s, in)
	overlay.List(&s.VolumeConfigurations, in.VolumeConfigurations)
	overlay.List(&s.VpcLatticeConfigurations, in.VpcLatticeConfigurations)
	overlay.List(&s.GatewayConnectors, in.GatewayConnectors)
	if in.DeploymentConfiguration != nil {
		overlayDeployment(s.DeploymentConfiguration, in.DeploymentConfiguration)
	}
}

// overlayStrategy takes a strategy in the place of the launch type; an empty one goes back to the launch type
// that its tasks had. A platform version is Fargate's alone.
func overlayStrategy(s *Spec, in *sdk.UpdateServiceInput) {
	before := LaunchType(s)
	switch {
	case in.CapacityProviderStrategy == nil:
		return
	case len(in.CapacityProviderStrategy) == 0:
		s.LaunchType, s.CapacityProviderStrategy = before, nil
	default:
		s.LaunchType, s.CapacityProviderStrategy = "", in.CapacityProviderStrategy
	}
	if LaunchType(s) != types.LaunchTypeFargate && in.PlatformVersion == nil {
		s.PlatformVersion = nil
	}
}

// overlayDeployment merges member by member, since clients send only the part that they change.
func overlayDeployment(d, in *types.DeploymentConfiguration) {
	overlay.Value(&d.MinimumHealthyPercent, in.MinimumHealthyPercent)
	overlay.Value(&d.MaximumPercent, in.MaximumPercent)
	overlay.Value(&d.DeploymentCircuitBreaker, in.DeploymentCircuitBreaker)
	overlay.Value(&d.Alarms, in.Alarms)
	overlay.Value(&d.BakeTimeInMinutes, in.BakeTimeInMinutes)
	overlay.Value(&d.LinearConfiguration, in.LinearConfiguration)
	overlay.Value(&d.CanaryConfiguration, in.CanaryConfiguration)
	overlay.Value(&d.EarlySuccessCriteria, in.EarlySuccessCriteria)
	overlay.List(&d.LifecycleHooks, in.LifecycleHooks)
	if in.Strategy != "" {
		d.Strategy = in.Strategy
	}
}

// SameNetwork compares awsvpc configurations; subnets and security groups are sets.
func SameNetwork(a, b *task.Network) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.AssignPublicIP == b.AssignPublicIP && sameSet(a.Subnets, b.Subnets) && sameSet(a.SecurityGroups, b.SecurityGroups)
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

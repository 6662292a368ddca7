package servicespec

import (
	"bytes"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/overlay"
	"github.com/bakingclouds/rollcall/internal/task"
)

// Desired returns current with an update applied and defaults filled in, or an error if the result breaks a rule. It
// does not change current.
func Desired(current *Spec, update *sdk.UpdateServiceInput, cluster *task.Cluster) (*Spec, error) {
	desired := *current
	if current.DeploymentConfiguration != nil {
		deployment := *current.DeploymentConfiguration
		desired.DeploymentConfiguration = &deployment
	}
	overlayUpdate(&desired, update)
	FillDefaults(&desired)
	ChooseLaunchType(&desired, cluster)
	if err := ecserr.First(
		Check(&desired), CheckStrategy(update.CapacityProviderStrategy, cluster.Providers),
	); err != nil {
		return nil, err
	}
	return &desired, nil
}

// NeedsDeployment reports whether the tasks of a service have to be replaced: whether their task definition, network,
// registries, capacity providers or platform version differ from those of the primary deployment.
func NeedsDeployment(
	primary *task.Deployment, current, desired *Spec, def *task.Definition, registries []task.Registry,
) bool {
	return def.Family != primary.Family || def.Revision != primary.Revision ||
		!sameNetwork(primary.Network, NetworkRow(desired)) ||
		!slices.Equal(primary.Registries, registries) ||
		!sameItems(primary.Strategy, StrategyRow(desired.CapacityProviderStrategy)) ||
		aws.ToString(current.PlatformVersion) != aws.ToString(desired.PlatformVersion)
}

// SetRevision writes the members of a Spec that make a service revision to the primary deployment, without starting
// another deployment. Deployments that were created before deployments kept these members stay as they are.
func SetRevision(svc *task.Service, def *task.Definition, spec *Spec) {
	revision := encodeRevision(def, spec)
	if stored := svc.Primary().Sent; stored == nil || bytes.Equal(stored, revision) {
		return
	}
	svc.Deployments = slices.Clone(svc.Deployments) // the stored row shares them
	svc.Primary().Sent = revision
}

// overlayUpdate replaces the members of a Spec by those of an update. An empty list removes the stored items, and an
// absent list keeps them.
func overlayUpdate(spec *Spec, update *sdk.UpdateServiceInput) {
	overlay.Value(&spec.DesiredCount, update.DesiredCount)
	overlay.Value(&spec.HealthCheckGracePeriodSeconds, update.HealthCheckGracePeriodSeconds)
	overlay.Value(&spec.NetworkConfiguration, update.NetworkConfiguration)
	overlay.Value(&spec.PlatformVersion, update.PlatformVersion)
	overlay.Value(&spec.DeploymentController, update.DeploymentController)
	overlay.Value(&spec.ServiceConnectConfiguration, update.ServiceConnectConfiguration)
	overlay.Value(&spec.Monitoring, update.Monitoring)
	overlay.Value(&spec.TaskDefinition, update.TaskDefinition)
	overlay.Plain(&spec.EnableECSManagedTags, update.EnableECSManagedTags)
	overlay.Plain(&spec.EnableExecuteCommand, update.EnableExecuteCommand)
	overlay.Enum(&spec.PropagateTags, update.PropagateTags)
	overlay.Enum(&spec.AvailabilityZoneRebalancing, update.AvailabilityZoneRebalancing)
	overlay.List(&spec.ServiceRegistries, update.ServiceRegistries)
	overlay.List(&spec.LoadBalancers, update.LoadBalancers)
	overlay.List(&spec.PlacementConstraints, update.PlacementConstraints)
	overlay.List(&spec.PlacementStrategy, update.PlacementStrategy)
	overlayStrategy(spec, update)
	overlay.List(&spec.VolumeConfigurations, update.VolumeConfigurations)
	overlay.List(&spec.VpcLatticeConfigurations, update.VpcLatticeConfigurations)
	overlay.List(&spec.GatewayConnectors, update.GatewayConnectors)
	if update.DeploymentConfiguration != nil {
		overlayDeployment(spec.DeploymentConfiguration, update.DeploymentConfiguration)
	}
}

// overlayStrategy replaces the launch type by a capacity provider strategy. An empty strategy returns to the launch
// type that the tasks had. Only tasks on Fargate have a platform version.
func overlayStrategy(spec *Spec, update *sdk.UpdateServiceInput) {
	before := LaunchType(spec)
	switch {
	case update.CapacityProviderStrategy == nil:
		return
	case len(update.CapacityProviderStrategy) == 0:
		spec.LaunchType, spec.CapacityProviderStrategy = before, nil
	default:
		spec.LaunchType, spec.CapacityProviderStrategy = "", update.CapacityProviderStrategy
	}
	if LaunchType(spec) != types.LaunchTypeFargate && update.PlatformVersion == nil {
		spec.PlatformVersion = nil
	}
}

// overlayDeployment merges member by member, because clients send only the members that they change.
func overlayDeployment(stored, update *types.DeploymentConfiguration) {
	overlay.Value(&stored.MinimumHealthyPercent, update.MinimumHealthyPercent)
	overlay.Value(&stored.MaximumPercent, update.MaximumPercent)
	overlay.Value(&stored.DeploymentCircuitBreaker, update.DeploymentCircuitBreaker)
	overlay.Value(&stored.Alarms, update.Alarms)
	overlay.Value(&stored.BakeTimeInMinutes, update.BakeTimeInMinutes)
	overlay.Value(&stored.LinearConfiguration, update.LinearConfiguration)
	overlay.Value(&stored.CanaryConfiguration, update.CanaryConfiguration)
	overlay.Value(&stored.EarlySuccessCriteria, update.EarlySuccessCriteria)
	overlay.List(&stored.LifecycleHooks, update.LifecycleHooks)
	overlay.Enum(&stored.Strategy, update.Strategy)
}

// sameNetwork compares awsvpc configurations. The order of subnets and security groups does not matter.
func sameNetwork(a, b *task.Network) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.AssignPublicIP == b.AssignPublicIP &&
		sameTexts(a.Subnets, b.Subnets) && sameTexts(a.SecurityGroups, b.SecurityGroups)
}

// sameTexts reports whether two lists have the same texts in any order.
func sameTexts(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// sameItems reports whether two strategies have the same items in any order. A strategy has no item twice.
func sameItems(a, b []task.StrategyItem) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(item task.StrategyItem) bool {
		return !slices.Contains(b, item)
	})
}

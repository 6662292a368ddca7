package ecs

import (
	"bytes"
	"reflect"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// change lays an update over a service's settings, applies the rules to the whole, and starts a deployment
// if what tasks are made of differs. An update that says what is there already writes nothing.
func (a *api) change(tx *store.Tx, cluster *task.Cluster, old *task.Service, in *sdk.UpdateServiceInput) (*task.Service, error) {
	s, err := settingsOf(old)
	if err != nil {
		return nil, err
	}
	if s.DesiredCount = nil; !old.Daemon {
		s.DesiredCount = aws.Int32(int32(old.DesiredCount)) // the row's may have changed without a request
	}
	platform := aws.ToString(s.PlatformVersion)
	overlay(s, in)
	fillDefaults(s)
	chooseLaunch(s, cluster)
	if err := first(checkSettings(s), checkStrategy(in.CapacityProviderStrategy, cluster.Providers)); err != nil {
		return nil, err
	}
	primary := old.Primary()
	def, err := a.wanted(tx, old, in.TaskDefinition)
	if err != nil {
		return nil, err
	}
	registries, err := checkAgainst(tx, def, s)
	if err != nil {
		return nil, err
	}
	svc := *old
	keep(&svc, def, *s)
	if in.ForceNewDeployment ||
		def.Family != primary.Family || def.Revision != primary.Revision ||
		!sameNetwork(primary.Network, network(s)) ||
		!slices.Equal(primary.Registries, registries) ||
		!sameStrategy(primary.Strategy, strategyOf(s.CapacityProviderStrategy)) ||
		platform != aws.ToString(s.PlatformVersion) {
		now := a.now()
		task.Deploy(tx, &svc, deployment(def, s, registries, now), wire.Append(nil, s.DeploymentConfiguration), now)
	} else if sent := revisionOf(def, s); svc.Primary().Sent != nil && !bytes.Equal(sent, svc.Primary().Sent) {
		svc.Deployments = slices.Clone(svc.Deployments)
		svc.Primary().Sent = sent
	}
	if reflect.DeepEqual(svc, *old) {
		return old, nil
	}
	if aws.ToString(s.ClientToken) == "" {
		svc.Request = "" // only a token tells a late repeat of the creation from another attempt
	}
	task.PutService(tx, svc)
	return &svc, nil
}

// wanted is the definition that an update names, or else the one that is deployed, which may be inactive.
func (a *api) wanted(r store.Reader, svc *task.Service, named *string) (*task.Definition, error) {
	if aws.ToString(named) != "" {
		return runnable(r, svc.Scope(), *named)
	}
	return task.GetDefinition(r, svc.Scope(), svc.Primary().Family, svc.Primary().Revision)
}

// overlay puts the members that an update has over those of the settings. An empty list removes, an absent
// one keeps.
func overlay(s *settings, in *sdk.UpdateServiceInput) {
	set(&s.DesiredCount, in.DesiredCount)
	set(&s.HealthCheckGracePeriodSeconds, in.HealthCheckGracePeriodSeconds)
	set(&s.NetworkConfiguration, in.NetworkConfiguration)
	set(&s.PlatformVersion, in.PlatformVersion)
	set(&s.DeploymentController, in.DeploymentController)
	set(&s.ServiceConnectConfiguration, in.ServiceConnectConfiguration)
	set(&s.Monitoring, in.Monitoring)
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
	setList(&s.ServiceRegistries, in.ServiceRegistries)
	setList(&s.LoadBalancers, in.LoadBalancers)
	setList(&s.PlacementConstraints, in.PlacementConstraints)
	setList(&s.PlacementStrategy, in.PlacementStrategy)
	overlayStrategy(s, in)
	setList(&s.VolumeConfigurations, in.VolumeConfigurations)
	setList(&s.VpcLatticeConfigurations, in.VpcLatticeConfigurations)
	setList(&s.GatewayConnectors, in.GatewayConnectors)
	if in.DeploymentConfiguration != nil {
		overlayDeployment(s.DeploymentConfiguration, in.DeploymentConfiguration)
	}
}

// overlayStrategy takes a strategy in the place of the launch type; an empty one goes back to the launch type
// that its tasks had. A platform version is Fargate's alone.
func overlayStrategy(s *settings, in *sdk.UpdateServiceInput) {
	before := launchOf(s)
	switch {
	case in.CapacityProviderStrategy == nil:
		return
	case len(in.CapacityProviderStrategy) == 0:
		s.LaunchType, s.CapacityProviderStrategy = before, nil
	default:
		s.LaunchType, s.CapacityProviderStrategy = "", in.CapacityProviderStrategy
	}
	if launchOf(s) != types.LaunchTypeFargate && in.PlatformVersion == nil {
		s.PlatformVersion = nil
	}
}

// overlayDeployment merges member by member, since clients send only the part that they change.
func overlayDeployment(d, in *types.DeploymentConfiguration) {
	set(&d.MinimumHealthyPercent, in.MinimumHealthyPercent)
	set(&d.MaximumPercent, in.MaximumPercent)
	set(&d.DeploymentCircuitBreaker, in.DeploymentCircuitBreaker)
	set(&d.Alarms, in.Alarms)
	set(&d.BakeTimeInMinutes, in.BakeTimeInMinutes)
	set(&d.LinearConfiguration, in.LinearConfiguration)
	set(&d.CanaryConfiguration, in.CanaryConfiguration)
	set(&d.EarlySuccessCriteria, in.EarlySuccessCriteria)
	setList(&d.LifecycleHooks, in.LifecycleHooks)
	if in.Strategy != "" {
		d.Strategy = in.Strategy
	}
}

func set[T any](to **T, from *T) {
	if from != nil {
		*to = from
	}
}

func setList[T any](to *[]T, from []T) {
	if from != nil {
		*to = from
	}
}

// sameNetwork compares awsvpc configurations; subnets and security groups are sets.
func sameNetwork(a, b *task.Network) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.AssignPublicIP == b.AssignPublicIP && sameSet(a.Subnets, b.Subnets) && sameSet(a.SecurityGroups, b.SecurityGroups)
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// Package servicespec has the rules of ECS services: what a request may say, its defaults, and how an update changes
// what is stored.
//
// A Spec is the CreateService request of a service, with defaults filled in and later updates laid over it. Start with
// FillDefaults and Check; Overlay lays an update over a Spec, and Of and Keep read and write the Spec of a row.
// CheckAgainst holds a Spec against its task definition and its Cloud Map services, which it reads from the store.
//
// Standalone tasks (RunTask) follow the same rules of network, platform, placement and capacity providers.
package servicespec

import (
	"cmp"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
)

// Spec are all that a service was asked to be: the CreateService request with its defaults filled in and
// later updates laid over it.
type Spec = sdk.CreateServiceInput

// FillDefaults makes explicit what AWS shows when it reads a service back, but for what chooseLaunch settles.
func FillDefaults(s *Spec) {
	s.SchedulingStrategy = cmp.Or(s.SchedulingStrategy, types.SchedulingStrategyReplica)
	s.PropagateTags = cmp.Or(s.PropagateTags, types.PropagateTagsNone)
	if s.DeploymentController == nil {
		s.DeploymentController = &types.DeploymentController{Type: types.DeploymentControllerTypeEcs}
	}
	if s.HealthCheckGracePeriodSeconds == nil {
		s.HealthCheckGracePeriodSeconds = aws.Int32(0)
	}
	if n := s.NetworkConfiguration; n != nil && n.AwsvpcConfiguration != nil {
		n.AwsvpcConfiguration.AssignPublicIp = cmp.Or(n.AwsvpcConfiguration.AssignPublicIp, types.AssignPublicIpDisabled)
	}
	if s.DeploymentConfiguration == nil {
		s.DeploymentConfiguration = &types.DeploymentConfiguration{}
	}
	d := s.DeploymentConfiguration
	daemon := s.SchedulingStrategy == types.SchedulingStrategyDaemon
	if s.AvailabilityZoneRebalancing == "" {
		s.AvailabilityZoneRebalancing = types.AvailabilityZoneRebalancingEnabled
		if daemon || d.MaximumPercent != nil && *d.MaximumPercent <= 100 {
			s.AvailabilityZoneRebalancing = types.AvailabilityZoneRebalancingDisabled
		}
	}
	low, high := int32(100), int32(200)
	if daemon {
		low, high = 0, 100
	}
	for _, p := range []struct {
		percent **int32
		value   int32
	}{{&d.MinimumHealthyPercent, low}, {&d.MaximumPercent, high}, {&d.BakeTimeInMinutes, 0}} {
		if *p.percent == nil {
			*p.percent = aws.Int32(p.value)
		}
	}
	if d.DeploymentCircuitBreaker == nil {
		d.DeploymentCircuitBreaker = &types.DeploymentCircuitBreaker{}
	}
	d.Strategy = cmp.Or(d.Strategy, types.DeploymentStrategyRolling)
}

// Fingerprint tells a repeat of a CreateService request from another request for the same name.
func Fingerprint(s *Spec) string { return codec.Digest(codec.Encode(s)) }

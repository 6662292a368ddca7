// Package servicespec implements the rules of ECS services: the defaults of a request, its valid values, and the effect
// of an update.
//
// A [Spec] is the CreateService request of a service, with defaults filled in and later updates applied. A new service
// goes through [FillDefaults], [ChooseLaunchType], [Check] and [CheckReferences], and [SetRow] writes the result to the
// service's row. An update starts from the row's Spec ([Of]): [Desired] applies the update to it, and [NeedsDeployment]
// reports whether the service's tasks have to be replaced.
//
// RunTask follows the same rules of networks, platform versions, placement and capacity providers, so standalone tasks
// use them as well.
//
// All rules are pure except CheckReferences, which reads the Cloud Map services of the registries.
package servicespec

import (
	"cmp"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// Spec is everything that a client has requested of a service.
type Spec = sdk.CreateServiceInput

// FillDefaults sets the absent members to the defaults that AWS returns when it describes a service. The defaults of
// the launch type depend on the cluster: ChooseLaunchType sets them.
func FillDefaults(spec *Spec) {
	spec.SchedulingStrategy = cmp.Or(spec.SchedulingStrategy, types.SchedulingStrategyReplica)
	spec.PropagateTags = cmp.Or(spec.PropagateTags, types.PropagateTagsNone)
	if spec.DeploymentController == nil {
		spec.DeploymentController = &types.DeploymentController{Type: types.DeploymentControllerTypeEcs}
	}
	if spec.HealthCheckGracePeriodSeconds == nil {
		spec.HealthCheckGracePeriodSeconds = aws.Int32(0)
	}
	if n := spec.NetworkConfiguration; n != nil && n.AwsvpcConfiguration != nil {
		n.AwsvpcConfiguration.AssignPublicIp = cmp.Or(
			n.AwsvpcConfiguration.AssignPublicIp, types.AssignPublicIpDisabled)
	}
	if spec.DeploymentConfiguration == nil {
		spec.DeploymentConfiguration = &types.DeploymentConfiguration{}
	}
	d := spec.DeploymentConfiguration
	if spec.AvailabilityZoneRebalancing == "" {
		spec.AvailabilityZoneRebalancing = types.AvailabilityZoneRebalancingEnabled
		if isDaemon(spec) || d.MaximumPercent != nil && *d.MaximumPercent <= 100 {
			spec.AvailabilityZoneRebalancing = types.AvailabilityZoneRebalancingDisabled
		}
	}
	fillDeploymentDefaults(d, isDaemon(spec))
}

func fillDeploymentDefaults(d *types.DeploymentConfiguration, daemon bool) {
	minimum, maximum := int32(100), int32(200)
	if daemon {
		minimum, maximum = 0, 100
	}
	for _, member := range []struct {
		value    **int32
		absentAs int32
	}{{&d.MinimumHealthyPercent, minimum}, {&d.MaximumPercent, maximum}, {&d.BakeTimeInMinutes, 0}} {
		if *member.value == nil {
			*member.value = aws.Int32(member.absentAs)
		}
	}
	if d.DeploymentCircuitBreaker == nil {
		d.DeploymentCircuitBreaker = &types.DeploymentCircuitBreaker{}
	}
	d.Strategy = cmp.Or(d.Strategy, types.DeploymentStrategyRolling)
}

// isDaemon reports whether the service runs one task on each node.
func isDaemon(spec *Spec) bool { return spec.SchedulingStrategy == types.SchedulingStrategyDaemon }

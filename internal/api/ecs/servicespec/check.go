package servicespec

import (
	"cmp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/api/ecs/taskdef"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// Check applies the rules that need no more than the settings themselves; defaults are filled in.
func Check(s *Spec) error {
	if !identifier.ValidName(aws.ToString(s.ServiceName)) {
		return ecserr.Invalid("Invalid service name %q: up to 255 letters, digits, hyphens and underscores are allowed", aws.ToString(s.ServiceName))
	}
	if len(aws.ToString(s.ClientToken)) > 36 {
		return ecserr.Invalid("idempotency token longer than 36.")
	}
	return ecserr.First(
		ecserr.OneOf("launch type", s.LaunchType, s.LaunchType.Values()),
		ecserr.OneOf("scheduling strategy", s.SchedulingStrategy, s.SchedulingStrategy.Values()),
		ecserr.OneOf("propagateTags", s.PropagateTags, s.PropagateTags.Values()),
		ecserr.OneOf("availabilityZoneRebalancing", s.AvailabilityZoneRebalancing, s.AvailabilityZoneRebalancing.Values()),
		checkSupported(s),
		checkCounts(s),
		checkDaemon(s),
		checkBreaker(s.DeploymentConfiguration.DeploymentCircuitBreaker),
		checkDeploymentConfiguration(s.DeploymentConfiguration),
		CheckPlatform(s),
		CheckPlacement(s),
		CheckNetwork(s.NetworkConfiguration),
	)
}

// checkSupported refuses what Rollcall does not do, rather than to leave it out in silence.
func checkSupported(s *Spec) error {
	d := s.DeploymentConfiguration
	switch {
	case s.LaunchType != "" && len(s.CapacityProviderStrategy) > 0:
		return ecserr.Invalid("Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.")
	case s.LaunchType == types.LaunchTypeManagedInstances:
		return ecserr.Unsupported("Managed instances are not supported by this server; use the launch type EC2, FARGATE or EXTERNAL.")
	case s.DeploymentController.Type != types.DeploymentControllerTypeEcs:
		return ecserr.Unsupported("The deployment controller %s is not supported by this server; use ECS.", s.DeploymentController.Type)
	case d.Strategy != types.DeploymentStrategyRolling:
		return ecserr.Unsupported("The deployment strategy %s is not supported by this server; use ROLLING.", d.Strategy)
	case len(d.LifecycleHooks) > 0:
		return ecserr.Unsupported("Deployment lifecycle hooks are not supported by this server.")
	case len(s.LoadBalancers) > 0:
		return ecserr.Unsupported("Load balancers are not supported by this server; clients find tasks by service discovery (serviceRegistries).")
	case s.ServiceConnectConfiguration != nil && s.ServiceConnectConfiguration.Enabled:
		return ecserr.Unsupported("Service Connect is not supported by this server; use service discovery (serviceRegistries).")
	case len(s.VolumeConfigurations) > 0:
		return ecserr.Unsupported("Volumes configured at launch are not supported by this server.")
	case len(s.VpcLatticeConfigurations) > 0:
		return ecserr.Unsupported("VPC Lattice is not supported by this server.")
	case len(s.GatewayConnectors) > 0:
		return ecserr.Unsupported("Gateway connectors are not supported by this server.")
	case aws.ToString(s.Role) != "":
		return ecserr.Invalid("You cannot specify an IAM role for services that require a service linked role")
	case aws.ToString(s.TaskDefinition) == "":
		return ecserr.Invalid("TaskDefinition can not be blank.")
	}
	return nil
}

func checkCounts(s *Spec) error {
	daemon := s.SchedulingStrategy == types.SchedulingStrategyDaemon
	switch {
	case daemon && s.DesiredCount != nil:
		return ecserr.Invalid("The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again")
	case !daemon && s.DesiredCount == nil:
		return ecserr.Invalid("DesiredCount is missing")
	case !daemon && *s.DesiredCount < 0:
		return ecserr.Invalid("DesiredCount can not be lesser than 0")
	case *s.HealthCheckGracePeriodSeconds < 0:
		return ecserr.Invalid("healthCheckGracePeriodSeconds can not be lesser than 0")
	}
	return nil
}

// checkDaemon applies the rules of a service with one task on each node.
func checkDaemon(s *Spec) error {
	switch {
	case s.SchedulingStrategy != types.SchedulingStrategyDaemon:
		return nil
	case LaunchType(s) == types.LaunchTypeFargate:
		return ecserr.Invalid("The daemon scheduling strategy does not support the FARGATE launch type. Change the launch type and try again")
	case *s.DeploymentConfiguration.MaximumPercent > 100:
		return ecserr.Invalid("The daemon scheduling strategy does not support values above 100 for maximumPercent")
	case len(s.PlacementStrategy) > 0:
		return ecserr.Invalid("The daemon scheduling strategy does not support placement strategies")
	case s.AvailabilityZoneRebalancing == types.AvailabilityZoneRebalancingEnabled:
		return ecserr.Invalid("The daemon scheduling strategy does not support availability zone rebalancing")
	}
	return nil
}

// checkBreaker applies the rules of a circuit breaker's threshold.
func checkBreaker(c *types.DeploymentCircuitBreaker) error {
	if c == nil || c.ThresholdConfiguration == nil {
		return nil
	}
	t := c.ThresholdConfiguration
	switch err := ecserr.OneOf("threshold type", cmp.Or(t.Type, "null"), t.Type.Values()); {
	case err != nil:
		return err
	case t.Value < 1 || t.Type != types.ThresholdTypeCount && t.Value > 100:
		return ecserr.Invalid("The value %d of the deployment circuit breaker's threshold is out of range: it must be at least 1, and at most 100 for a percentage", t.Value)
	}
	return nil
}

func checkDeploymentConfiguration(d *types.DeploymentConfiguration) error {
	low, high := *d.MinimumHealthyPercent, *d.MaximumPercent
	switch {
	case low < 0:
		return ecserr.Invalid("minimumHealthyPercent must be at least 0")
	case low > 100:
		return ecserr.Invalid("minimumHealthyPercent must be at most 100")
	case high < 100:
		return ecserr.Invalid("maximumPercent must be at least 100")
	case low == 100 && high == 100:
		return ecserr.Invalid("Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments")
	}
	return nil
}

// platformVersions are those of Fargate on Linux that AWS still starts tasks on.
var platformVersions = []string{"LATEST", "1.4.0", "1.3.0"}

func CheckPlatform(s *Spec) error {
	version := aws.ToString(s.PlatformVersion)
	switch {
	case version == "":
		return nil
	case LaunchType(s) != types.LaunchTypeFargate:
		return ecserr.Invalid("The platform version must be null when specifying an %s launch type", LaunchType(s))
	case !slices.Contains(platformVersions, version):
		return &types.PlatformUnknownException{Message: aws.String("The specified platform version does not exist: " + version)}
	}
	return nil
}

func CheckNetwork(n *types.NetworkConfiguration) error {
	if n == nil || n.AwsvpcConfiguration == nil {
		return nil
	}
	c := n.AwsvpcConfiguration
	switch {
	case len(c.Subnets) == 0 || slices.Contains(c.Subnets, ""):
		return ecserr.Invalid("subnets can not be empty.")
	case len(c.Subnets) > 16:
		return ecserr.Invalid("subnets can have at most 16 items")
	case len(c.SecurityGroups) > 5:
		return ecserr.Invalid("security groups can have at most 5 items")
	}
	return ecserr.OneOf("assignPublicIp", c.AssignPublicIp, c.AssignPublicIp.Values())
}

// CheckAgainst holds the settings against the definition and the registries, which must be there when the
// transaction commits. It returns the registries.
func CheckAgainst(r store.Reader, def *task.Definition, s *Spec) ([]task.Registry, error) {
	in, err := codec.Decode[taskdef.Request]("task definition "+def.Family, def.Sent)
	if err != nil {
		return nil, err
	}
	awsvpc := def.NetworkMode == string(types.NetworkModeAwsvpc)
	switch {
	case LaunchType(s) == types.LaunchTypeFargate && !slices.Contains(taskdef.Compatibilities(in), types.CompatibilityFargate):
		return nil, ecserr.Invalid("Task definition does not support launch_type FARGATE.")
	case awsvpc && Network(s) == nil:
		return nil, ecserr.Invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
	case !awsvpc && Network(s) != nil:
		return nil, ecserr.Invalid("Network Configuration is not valid for the given networkMode of this task definition.")
	case len(s.PlacementConstraints)+len(in.PlacementConstraints) > 10:
		return nil, ecserr.Invalid("Maximum number of placement constraints is 10, those of the task definition included")
	}
	return checkRegistries(r, def, s.ServiceRegistries)
}

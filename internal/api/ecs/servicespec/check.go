package servicespec

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/api/ecs/taskdef"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// Check applies the rules that depend on nothing but the Spec, whose defaults must be filled in.
func Check(spec *Spec) error {
	name := aws.ToString(spec.ServiceName)
	if !identifier.ValidName(name) {
		return ecserr.Invalid("Invalid service name %q: up to 255 letters, digits, hyphens and underscores are allowed", name)
	}
	if len(aws.ToString(spec.ClientToken)) > 36 {
		return ecserr.Invalid("idempotency token longer than 36.")
	}
	rebalancing := spec.AvailabilityZoneRebalancing
	return ecserr.First(
		ecserr.OneOf("launch type", spec.LaunchType, spec.LaunchType.Values()),
		ecserr.OneOf("scheduling strategy", spec.SchedulingStrategy, spec.SchedulingStrategy.Values()),
		ecserr.OneOf("propagateTags", spec.PropagateTags, spec.PropagateTags.Values()),
		ecserr.OneOf("availabilityZoneRebalancing", rebalancing, rebalancing.Values()),
		checkSupported(spec),
		checkCounts(spec),
		checkDaemon(spec),
		checkBreaker(spec.DeploymentConfiguration.DeploymentCircuitBreaker),
		checkPercents(spec.DeploymentConfiguration),
		CheckPlatform(spec),
		CheckPlacement(spec),
		CheckNetwork(spec.NetworkConfiguration),
	)
}

// checkSupported rejects features that Rollcall does not have. A service that silently lacked one would not be the
// service that the client requested.
func checkSupported(spec *Spec) error {
	d := spec.DeploymentConfiguration
	switch {
	case spec.LaunchType != "" && len(spec.CapacityProviderStrategy) > 0:
		return ecserr.Invalid("Specifying both a launch type and capacity provider strategy is not supported. " +
			"Remove one and try again.")
	case spec.LaunchType == types.LaunchTypeManagedInstances:
		return ecserr.Unsupported("Managed instances are not supported by this server; " +
			"use the launch type EC2, FARGATE or EXTERNAL.")
	case spec.DeploymentController.Type != types.DeploymentControllerTypeEcs:
		return ecserr.Unsupported("The deployment controller %s is not supported by this server; use ECS.",
			spec.DeploymentController.Type)
	case d.Strategy != types.DeploymentStrategyRolling:
		return ecserr.Unsupported("The deployment strategy %s is not supported by this server; use ROLLING.", d.Strategy)
	case len(d.LifecycleHooks) > 0:
		return ecserr.Unsupported("Deployment lifecycle hooks are not supported by this server.")
	case len(spec.LoadBalancers) > 0:
		return ecserr.Unsupported("Load balancers are not supported by this server; " +
			"clients find tasks by service discovery (serviceRegistries).")
	case spec.ServiceConnectConfiguration != nil && spec.ServiceConnectConfiguration.Enabled:
		return ecserr.Unsupported("Service Connect is not supported by this server; " +
			"use service discovery (serviceRegistries).")
	case len(spec.VolumeConfigurations) > 0:
		return ecserr.Unsupported("Volumes configured at launch are not supported by this server.")
	case len(spec.VpcLatticeConfigurations) > 0:
		return ecserr.Unsupported("VPC Lattice is not supported by this server.")
	case len(spec.GatewayConnectors) > 0:
		return ecserr.Unsupported("Gateway connectors are not supported by this server.")
	case aws.ToString(spec.Role) != "":
		return ecserr.Invalid("You cannot specify an IAM role for services that require a service linked role")
	case aws.ToString(spec.TaskDefinition) == "":
		return ecserr.Invalid("TaskDefinition can not be blank.")
	}
	return nil
}

func checkCounts(spec *Spec) error {
	switch {
	case isDaemon(spec) && spec.DesiredCount != nil:
		return ecserr.Invalid("The daemon scheduling strategy does not support a desired count for services. " +
			"Remove the desired count value and try again")
	case !isDaemon(spec) && spec.DesiredCount == nil:
		return ecserr.Invalid("DesiredCount is missing")
	case !isDaemon(spec) && *spec.DesiredCount < 0:
		return ecserr.Invalid("DesiredCount can not be lesser than 0")
	case *spec.HealthCheckGracePeriodSeconds < 0:
		return ecserr.Invalid("healthCheckGracePeriodSeconds can not be lesser than 0")
	}
	return nil
}

func checkDaemon(spec *Spec) error {
	switch {
	case !isDaemon(spec):
		return nil
	case LaunchType(spec) == types.LaunchTypeFargate:
		return ecserr.Invalid("The daemon scheduling strategy does not support the FARGATE launch type. " +
			"Change the launch type and try again")
	case *spec.DeploymentConfiguration.MaximumPercent > 100:
		return ecserr.Invalid("The daemon scheduling strategy does not support values above 100 for maximumPercent")
	case len(spec.PlacementStrategy) > 0:
		return ecserr.Invalid("The daemon scheduling strategy does not support placement strategies")
	case spec.AvailabilityZoneRebalancing == types.AvailabilityZoneRebalancingEnabled:
		return ecserr.Invalid("The daemon scheduling strategy does not support availability zone rebalancing")
	}
	return nil
}

// checkBreaker checks the threshold of a deployment circuit breaker.
func checkBreaker(breaker *types.DeploymentCircuitBreaker) error {
	if breaker == nil || breaker.ThresholdConfiguration == nil {
		return nil
	}
	threshold := breaker.ThresholdConfiguration
	if err := ecserr.RequireOneOf("threshold type", threshold.Type, threshold.Type.Values()); err != nil {
		return err
	}
	if threshold.Value < 1 || threshold.Type != types.ThresholdTypeCount && threshold.Value > 100 {
		return ecserr.Invalid("The value %d of the deployment circuit breaker's threshold is out of range: "+
			"it must be at least 1, and at most 100 for a percentage", threshold.Value)
	}
	return nil
}

func checkPercents(d *types.DeploymentConfiguration) error {
	minimum, maximum := *d.MinimumHealthyPercent, *d.MaximumPercent
	switch {
	case minimum < 0:
		return ecserr.Invalid("minimumHealthyPercent must be at least 0")
	case minimum > 100:
		return ecserr.Invalid("minimumHealthyPercent must be at most 100")
	case maximum < 100:
		return ecserr.Invalid("maximumPercent must be at least 100")
	case minimum == 100 && maximum == 100:
		return ecserr.Invalid("Both maximumPercent and minimumHealthyPercent cannot be 100 " +
			"as this will block deployments")
	}
	return nil
}

// platformVersions are the versions of Fargate on Linux that AWS still starts tasks on.
var platformVersions = []string{"LATEST", "1.4.0", "1.3.0"}

// CheckPlatform checks the platform version, which only tasks on Fargate may have.
func CheckPlatform(spec *Spec) error {
	version := aws.ToString(spec.PlatformVersion)
	switch {
	case version == "":
		return nil
	case LaunchType(spec) != types.LaunchTypeFargate:
		return ecserr.Invalid("The platform version must be null when specifying an %s launch type", LaunchType(spec))
	case !slices.Contains(platformVersions, version):
		return &types.PlatformUnknownException{
			Message: aws.String("The specified platform version does not exist: " + version),
		}
	}
	return nil
}

// CheckNetwork checks an awsvpc configuration. It accepts nil.
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

// CheckReferences checks a Spec against its task definition and its registries, and returns the registries. In a
// transaction, the commit fails if a registry's Cloud Map service is deleted meanwhile.
func CheckReferences(r store.Reader, def *task.Definition, spec *Spec) ([]task.Registry, error) {
	request, err := taskdef.RequestOf(def)
	if err != nil {
		return nil, err
	}
	fargate := LaunchType(spec) == types.LaunchTypeFargate
	awsvpc := def.NetworkMode == string(types.NetworkModeAwsvpc)
	switch {
	case fargate && !slices.Contains(taskdef.Compatibilities(request), types.CompatibilityFargate):
		return nil, ecserr.Invalid("Task definition does not support launch_type FARGATE.")
	case awsvpc && NetworkRow(spec) == nil:
		return nil, ecserr.Invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
	case !awsvpc && NetworkRow(spec) != nil:
		return nil, ecserr.Invalid("Network Configuration is not valid for the given networkMode " +
			"of this task definition.")
	case len(spec.PlacementConstraints)+len(request.PlacementConstraints) > 10:
		return nil, ecserr.Invalid("Maximum number of placement constraints is 10, " +
			"including those of the task definition")
	}
	return checkRegistries(r, def, spec.ServiceRegistries)
}

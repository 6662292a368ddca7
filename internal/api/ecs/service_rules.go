package ecs

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// settings are all that a service was asked to be: the CreateService request with its defaults filled in and
// later updates laid over it.
type settings = sdk.CreateServiceInput

// fillDefaults makes explicit what AWS shows when it reads a service back, but for what chooseLaunch settles.
func fillDefaults(s *settings) {
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

// fingerprint tells a repeat of a CreateService request from another request for the same name.
func fingerprint(s *settings) string { return digest(wire.Append(nil, s)) }

func digest(request []byte) string {
	sum := sha256.Sum256(request)
	return hex.EncodeToString(sum[:16])
}

// checkSettings applies the rules that need no more than the settings themselves; defaults are filled in.
func checkSettings(s *settings) error {
	if !namePattern.MatchString(aws.ToString(s.ServiceName)) {
		return invalid("Invalid service name %q: up to 255 letters, digits, hyphens and underscores are allowed", aws.ToString(s.ServiceName))
	}
	if len(aws.ToString(s.ClientToken)) > 36 {
		return invalid("idempotency token longer than 36.")
	}
	return first(
		oneOf("launch type", s.LaunchType, s.LaunchType.Values()),
		oneOf("scheduling strategy", s.SchedulingStrategy, s.SchedulingStrategy.Values()),
		oneOf("propagateTags", s.PropagateTags, s.PropagateTags.Values()),
		oneOf("availabilityZoneRebalancing", s.AvailabilityZoneRebalancing, s.AvailabilityZoneRebalancing.Values()),
		checkSupported(s),
		checkCounts(s),
		checkDaemon(s),
		checkBreaker(s.DeploymentConfiguration.DeploymentCircuitBreaker),
		checkDeploymentConfiguration(s.DeploymentConfiguration),
		checkPlatform(s),
		checkPlacement(s),
		checkNetwork(s.NetworkConfiguration),
	)
}

// checkSupported refuses what Rollcall does not do, rather than to leave it out in silence.
func checkSupported(s *settings) error {
	d := s.DeploymentConfiguration
	switch {
	case s.LaunchType != "" && len(s.CapacityProviderStrategy) > 0:
		return invalid("Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.")
	case s.LaunchType == types.LaunchTypeManagedInstances:
		return unsupported("Managed instances are not supported by this server; use the launch type EC2, FARGATE or EXTERNAL.")
	case s.DeploymentController.Type != types.DeploymentControllerTypeEcs:
		return unsupported("The deployment controller %s is not supported by this server; use ECS.", s.DeploymentController.Type)
	case d.Strategy != types.DeploymentStrategyRolling:
		return unsupported("The deployment strategy %s is not supported by this server; use ROLLING.", d.Strategy)
	case len(d.LifecycleHooks) > 0:
		return unsupported("Deployment lifecycle hooks are not supported by this server.")
	case len(s.LoadBalancers) > 0:
		return unsupported("Load balancers are not supported by this server; clients find tasks by service discovery (serviceRegistries).")
	case s.ServiceConnectConfiguration != nil && s.ServiceConnectConfiguration.Enabled:
		return unsupported("Service Connect is not supported by this server; use service discovery (serviceRegistries).")
	case len(s.VolumeConfigurations) > 0:
		return unsupported("Volumes configured at launch are not supported by this server.")
	case len(s.VpcLatticeConfigurations) > 0:
		return unsupported("VPC Lattice is not supported by this server.")
	case len(s.GatewayConnectors) > 0:
		return unsupported("Gateway connectors are not supported by this server.")
	case aws.ToString(s.Role) != "":
		return invalid("You cannot specify an IAM role for services that require a service linked role")
	case aws.ToString(s.TaskDefinition) == "":
		return invalid("TaskDefinition can not be blank.")
	}
	return nil
}

func checkCounts(s *settings) error {
	daemon := s.SchedulingStrategy == types.SchedulingStrategyDaemon
	switch {
	case daemon && s.DesiredCount != nil:
		return invalid("The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again")
	case !daemon && s.DesiredCount == nil:
		return invalid("DesiredCount is missing")
	case !daemon && *s.DesiredCount < 0:
		return invalid("DesiredCount can not be lesser than 0")
	case *s.HealthCheckGracePeriodSeconds < 0:
		return invalid("healthCheckGracePeriodSeconds can not be lesser than 0")
	}
	return nil
}

// checkDaemon applies the rules of a service with one task on each node.
func checkDaemon(s *settings) error {
	switch {
	case s.SchedulingStrategy != types.SchedulingStrategyDaemon:
		return nil
	case launchOf(s) == types.LaunchTypeFargate:
		return invalid("The daemon scheduling strategy does not support the FARGATE launch type. Change the launch type and try again")
	case *s.DeploymentConfiguration.MaximumPercent > 100:
		return invalid("The daemon scheduling strategy does not support values above 100 for maximumPercent")
	case len(s.PlacementStrategy) > 0:
		return invalid("The daemon scheduling strategy does not support placement strategies")
	case s.AvailabilityZoneRebalancing == types.AvailabilityZoneRebalancingEnabled:
		return invalid("The daemon scheduling strategy does not support availability zone rebalancing")
	}
	return nil
}

// checkBreaker applies the rules of a circuit breaker's threshold.
func checkBreaker(c *types.DeploymentCircuitBreaker) error {
	if c == nil || c.ThresholdConfiguration == nil {
		return nil
	}
	t := c.ThresholdConfiguration
	switch err := oneOf("threshold type", cmp.Or(t.Type, "null"), t.Type.Values()); {
	case err != nil:
		return err
	case t.Value < 1 || t.Type != types.ThresholdTypeCount && t.Value > 100:
		return invalid("The value %d of the deployment circuit breaker's threshold is out of range: it must be at least 1, and at most 100 for a percentage", t.Value)
	}
	return nil
}

func checkDeploymentConfiguration(d *types.DeploymentConfiguration) error {
	low, high := *d.MinimumHealthyPercent, *d.MaximumPercent
	switch {
	case low < 0:
		return invalid("minimumHealthyPercent must be at least 0")
	case low > 100:
		return invalid("minimumHealthyPercent must be at most 100")
	case high < 100:
		return invalid("maximumPercent must be at least 100")
	case low == 100 && high == 100:
		return invalid("Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments")
	}
	return nil
}

// platformVersions are those of Fargate on Linux that AWS still starts tasks on.
var platformVersions = []string{"LATEST", "1.4.0", "1.3.0"}

func checkPlatform(s *settings) error {
	version := aws.ToString(s.PlatformVersion)
	switch {
	case version == "":
		return nil
	case launchOf(s) != types.LaunchTypeFargate:
		return invalid("The platform version must be null when specifying an %s launch type", launchOf(s))
	case !slices.Contains(platformVersions, version):
		return &types.PlatformUnknownException{Message: aws.String("The specified platform version does not exist: " + version)}
	}
	return nil
}

func checkNetwork(n *types.NetworkConfiguration) error {
	if n == nil || n.AwsvpcConfiguration == nil {
		return nil
	}
	c := n.AwsvpcConfiguration
	switch {
	case len(c.Subnets) == 0 || slices.Contains(c.Subnets, ""):
		return invalid("subnets can not be empty.")
	case len(c.Subnets) > 16:
		return invalid("subnets can have at most 16 items")
	case len(c.SecurityGroups) > 5:
		return invalid("security groups can have at most 5 items")
	}
	return oneOf("assignPublicIp", c.AssignPublicIp, c.AssignPublicIp.Values())
}

// network is the awsvpc configuration of the settings, nil if there is none.
func network(s *settings) *task.Network {
	if s.NetworkConfiguration == nil || s.NetworkConfiguration.AwsvpcConfiguration == nil {
		return nil
	}
	c := s.NetworkConfiguration.AwsvpcConfiguration
	return &task.Network{Subnets: c.Subnets, SecurityGroups: c.SecurityGroups, AssignPublicIP: string(c.AssignPublicIp)}
}

// checkAgainst holds the settings against the definition and the registries, which must be there when the
// transaction commits. It returns the registries.
func checkAgainst(r store.Reader, def *task.Definition, s *settings) ([]task.Registry, error) {
	in, err := kept[definition]("task definition "+def.Family, def.Sent)
	if err != nil {
		return nil, err
	}
	awsvpc := def.NetworkMode == string(types.NetworkModeAwsvpc)
	switch {
	case launchOf(s) == types.LaunchTypeFargate && !slices.Contains(compatibilities(in), types.CompatibilityFargate):
		return nil, invalid("Task definition does not support launch_type FARGATE.")
	case awsvpc && network(s) == nil:
		return nil, invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
	case !awsvpc && network(s) != nil:
		return nil, invalid("Network Configuration is not valid for the given networkMode of this task definition.")
	case len(s.PlacementConstraints)+len(in.PlacementConstraints) > 10:
		return nil, invalid("Maximum number of placement constraints is 10, those of the task definition included")
	}
	return checkRegistries(r, def, s.ServiceRegistries)
}

// deployment is one of a service with these settings that begins now.
func deployment(def *task.Definition, s *settings, registries []task.Registry, now time.Time) task.Deployment {
	d := task.NewDeployment(def.Family, def.Revision, network(s), registries, now)
	d.Sent = revisionOf(def, s)
	d.Strategy, d.LaunchType = strategyOf(s.CapacityProviderStrategy), string(launchOf(s))
	return d
}

// layRevision gives s those members of r that make a service revision.
func layRevision(s, r *settings) {
	s.TaskDefinition, s.LaunchType, s.CapacityProviderStrategy = r.TaskDefinition, r.LaunchType, r.CapacityProviderStrategy
	s.PlatformVersion, s.NetworkConfiguration = r.PlatformVersion, r.NetworkConfiguration
	s.LoadBalancers, s.ServiceRegistries = r.LoadBalancers, r.ServiceRegistries
	s.ServiceConnectConfiguration, s.Monitoring = r.ServiceConnectConfiguration, r.Monitoring
	s.VolumeConfigurations, s.VpcLatticeConfigurations, s.GatewayConnectors = r.VolumeConfigurations, r.VpcLatticeConfigurations, r.GatewayConnectors
}

// revisionOf are the members that make a service revision, as a deployment of def keeps them.
func revisionOf(def *task.Definition, s *settings) []byte {
	var r settings
	layRevision(&r, s)
	r.TaskDefinition = aws.String(def.ARN())
	return wire.Append(nil, &r)
}

// settingsOf are a service's settings. What makes a revision is what its primary deployment says: after a
// rollback that is not what the last update has said.
func settingsOf(svc *task.Service) (*settings, error) {
	s, err := kept[settings]("service "+svc.Name, svc.Sent)
	if err != nil || len(svc.Deployments) == 0 || len(svc.Primary().Sent) == 0 {
		return s, err
	}
	r, err := kept[settings]("deployment "+svc.Primary().ID, svc.Primary().Sent)
	if err != nil {
		return nil, err
	}
	layRevision(s, r)
	return s, nil
}

// breaker is a deployment circuit breaker as the rollout loop knows it; nil is none.
func breaker(c *types.DeploymentCircuitBreaker) *task.Breaker {
	if c == nil || !c.Enable {
		return nil
	}
	b := &task.Breaker{Rollback: c.Rollback, Cumulative: c.ResetOnHealthyTask != nil && !*c.ResetOnHealthyTask}
	if t := c.ThresholdConfiguration; t != nil {
		b.Type, b.Value = string(t.Type), int(t.Value)
	}
	return b
}

// keep writes settings into the row of a service that runs def.
func keep(svc *task.Service, def *task.Definition, s settings) {
	s.TaskDefinition = aws.String(def.ARN())
	s.Tags = nil // the row has them, and they change
	svc.LaunchType = string(launchOf(&s))
	svc.PropagateTags, svc.ManagedTags, svc.ExecuteCommand = string(s.PropagateTags), s.EnableECSManagedTags, s.EnableExecuteCommand
	if svc.Daemon = s.SchedulingStrategy == types.SchedulingStrategyDaemon; !svc.Daemon { // whose count its nodes make
		svc.DesiredCount = int(*s.DesiredCount)
	}
	svc.Breaker = breaker(s.DeploymentConfiguration.DeploymentCircuitBreaker)
	svc.MinimumHealthy = int(*s.DeploymentConfiguration.MinimumHealthyPercent)
	svc.Maximum = int(*s.DeploymentConfiguration.MaximumPercent)
	svc.Constraints, svc.Placement = constraintRows(s.PlacementConstraints), strategyRows(s.PlacementStrategy)
	svc.GracePeriod = time.Duration(*s.HealthCheckGracePeriodSeconds) * time.Second
	svc.Sent = wire.Append(nil, &s)
}

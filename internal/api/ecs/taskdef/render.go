package taskdef

import (
	"cmp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/task"
)

// Render returns the definition as the client sent it, with the members that AWS fills in.
func Render(d *task.Definition) (*types.TaskDefinition, error) {
	in, err := RequestOf(d)
	if err != nil {
		return nil, err
	}
	view := &types.TaskDefinition{
		TaskDefinitionArn:       aws.String(d.ARN()),
		Family:                  aws.String(d.Family),
		Revision:                int32(d.Revision),
		Status:                  types.TaskDefinitionStatus(d.Status),
		RegisteredAt:            &d.Registered,
		RegisteredBy:            aws.String(identifier.RootARN(arn.Scope{Account: d.Account, Region: d.Region})),
		DeregisteredAt:          d.Deregistered,
		DeleteRequestedAt:       d.DeleteAsked,
		ContainerDefinitions:    make([]types.ContainerDefinition, len(in.ContainerDefinitions)),
		Compatibilities:         Compatibilities(in),
		RequiresAttributes:      requiredAttributes(in),
		RequiresCompatibilities: in.RequiresCompatibilities,
		Cpu:                     in.Cpu,
		Memory:                  in.Memory,
		NetworkMode:             in.NetworkMode,
		TaskRoleArn:             in.TaskRoleArn,
		ExecutionRoleArn:        in.ExecutionRoleArn,
		PidMode:                 in.PidMode,
		IpcMode:                 in.IpcMode,
		RuntimePlatform:         in.RuntimePlatform,
		EphemeralStorage:        in.EphemeralStorage,
		ProxyConfiguration:      in.ProxyConfiguration,
		EnableFaultInjection:    in.EnableFaultInjection,
		Volumes:                 codec.OrEmpty(in.Volumes),
		PlacementConstraints:    codec.OrEmpty(in.PlacementConstraints),
	}
	for i, c := range in.ContainerDefinitions {
		view.ContainerDefinitions[i] = fillContainerDefaults(NetworkMode(in), c)
	}
	for _, v := range view.Volumes {
		if efs := v.EfsVolumeConfiguration; efs != nil && efs.RootDirectory == nil {
			efs.RootDirectory = aws.String("/")
		}
	}
	return view, nil
}

// fillContainerDefaults fills in the members that AWS fills in. The other members stay absent if the client did not
// send them.
func fillContainerDefaults(mode types.NetworkMode, c types.ContainerDefinition) types.ContainerDefinition {
	c.Essential = aws.Bool(isEssential(c))
	c.PortMappings = codec.OrEmpty(c.PortMappings)
	for i := range c.PortMappings {
		mapping := &c.PortMappings[i]
		mapping.Protocol = cmp.Or(mapping.Protocol, types.TransportProtocolTcp)
		if mapping.ContainerPort != nil {
			mapping.HostPort = hostPort(mode, *mapping)
		}
	}
	c.Environment = codec.OrEmpty(c.Environment)
	c.MountPoints = codec.OrEmpty(c.MountPoints)
	c.VolumesFrom = codec.OrEmpty(c.VolumesFrom)
	c.SystemControls = codec.OrEmpty(c.SystemControls)
	if h := c.HealthCheck; h != nil {
		if h.Interval == nil {
			h.Interval = aws.Int32(defaultInterval)
		}
		if h.Timeout == nil {
			h.Timeout = aws.Int32(defaultTimeout)
		}
		if h.Retries == nil {
			h.Retries = aws.Int32(defaultRetries)
		}
	}
	return c
}

// The prefixes of capabilities. The older capabilities have the longer one.
const (
	amazonCapability = "com.amazonaws.ecs.capability."
	ecsCapability    = "ecs.capability."
)

// attributeSet collects attributes, each of them once.
type attributeSet struct {
	attributes []types.Attribute
	seen       map[string]bool
}

// addIf adds an attribute if the condition holds.
func (s *attributeSet) addIf(condition bool, name string) {
	if !condition || s.seen[name] {
		return
	}
	s.seen[name] = true
	s.attributes = append(s.attributes, types.Attribute{Name: aws.String(name)})
}

// requiredAttributes returns the capabilities that a definition needs from its node (ECS Developer Guide, "Task
// definition parameters").
func requiredAttributes(in *Request) []types.Attribute {
	required := &attributeSet{seen: map[string]bool{}}
	mode := NetworkMode(in)
	required.addIf(mode == types.NetworkModeAwsvpc, ecsCapability+"task-eni")
	role := amazonCapability + "task-iam-role"
	if mode == types.NetworkModeHost {
		role += "-network-host"
	}
	required.addIf(aws.ToString(in.TaskRoleArn) != "", role)
	required.addIf(in.PidMode != "" || in.IpcMode != "", ecsCapability+"pid-ipc-namespace-sharing")
	for _, v := range in.Volumes {
		required.addIf(v.EfsVolumeConfiguration != nil, ecsCapability+"efs")
		if d := v.DockerVolumeConfiguration; d != nil {
			required.addIf(d.Driver != nil, ecsCapability+"docker-volume-driver."+aws.ToString(d.Driver))
		}
	}
	for _, c := range in.ContainerDefinitions {
		requireForContainer(required, c)
	}
	return required.attributes
}

func requireForContainer(required *attributeSet, c types.ContainerDefinition) {
	isOrdered := len(c.DependsOn) > 0 || c.StartTimeout != nil || c.StopTimeout != nil
	required.addIf(c.HealthCheck != nil, ecsCapability+"container-health-check")
	required.addIf(isOrdered, ecsCapability+"container-ordering")
	required.addIf(aws.ToBool(c.Privileged), amazonCapability+"privileged-container")
	if log := c.LogConfiguration; log != nil {
		required.addIf(true, amazonCapability+"logging-driver."+string(log.LogDriver))
	}
	for _, s := range c.Secrets {
		from := "ssm"
		if strings.Contains(aws.ToString(s.ValueFrom), ":secretsmanager:") {
			from = "asm"
		}
		required.addIf(true, ecsCapability+"secrets."+from+".environment-variables")
	}
	required.addIf(len(c.EnvironmentFiles) > 0, ecsCapability+"env-files.s3")
	required.addIf(c.RestartPolicy != nil, ecsCapability+"container-restart-policy")
	for _, mapping := range c.PortMappings {
		required.addIf(mapping.ContainerPortRange != nil, ecsCapability+"network.container-port-range")
	}
}

package taskdef

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/task"
)

// Render is a definition as it was sent, with the members that AWS fills in and nothing else.
func Render(d *task.Definition) (*types.TaskDefinition, error) {
	in, err := codec.Decode[Request](fmt.Sprintf("task definition %s:%d", d.Family, d.Revision), d.Sent)
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
		view.ContainerDefinitions[i] = containerView(NetworkMode(in), c)
	}
	for _, v := range view.Volumes {
		if efs := v.EfsVolumeConfiguration; efs != nil && efs.RootDirectory == nil {
			efs.RootDirectory = aws.String("/") // in is this call's own
		}
	}
	return view, nil
}

// containerView fills in what AWS does; everything else stays as it was sent, absent members absent.
func containerView(mode types.NetworkMode, c types.ContainerDefinition) types.ContainerDefinition {
	c.Essential = aws.Bool(isEssential(c))
	c.PortMappings = codec.OrEmpty(c.PortMappings)
	for i := range c.PortMappings {
		p := &c.PortMappings[i]
		p.Protocol = cmp.Or(p.Protocol, types.TransportProtocolTcp)
		if p.ContainerPort != nil {
			p.HostPort = hostPort(mode, *p)
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

// requiredAttributes are the capabilities that a definition asks of its node (ECS Developer Guide, "Task
// definition parameters"), each once.
func requiredAttributes(in *Request) []types.Attribute {
	const com, eco = "com.amazonaws.ecs.capability.", "ecs.capability."
	var attributes []types.Attribute
	seen := map[string]bool{}
	need := func(condition bool, name string) {
		if condition && !seen[name] {
			seen[name] = true
			attributes = append(attributes, types.Attribute{Name: aws.String(name)})
		}
	}
	mode := NetworkMode(in)
	need(mode == types.NetworkModeAwsvpc, eco+"task-eni")
	role := com + "task-iam-role"
	if mode == types.NetworkModeHost {
		role += "-network-host"
	}
	need(aws.ToString(in.TaskRoleArn) != "", role)
	need(in.PidMode != "" || in.IpcMode != "", eco+"pid-ipc-namespace-sharing")
	for _, v := range in.Volumes {
		need(v.EfsVolumeConfiguration != nil, eco+"efs")
		if d := v.DockerVolumeConfiguration; d != nil {
			need(d.Driver != nil, eco+"docker-volume-driver."+aws.ToString(d.Driver))
		}
	}
	for _, c := range in.ContainerDefinitions {
		need(c.HealthCheck != nil, eco+"container-health-check")
		need(len(c.DependsOn) > 0 || c.StartTimeout != nil || c.StopTimeout != nil, eco+"container-ordering")
		need(aws.ToBool(c.Privileged), com+"privileged-container")
		if c.LogConfiguration != nil {
			need(true, com+"logging-driver."+string(c.LogConfiguration.LogDriver))
		}
		for _, s := range c.Secrets {
			store := "ssm"
			if strings.Contains(aws.ToString(s.ValueFrom), ":secretsmanager:") {
				store = "asm"
			}
			need(true, eco+"secrets."+store+".environment-variables")
		}
		need(len(c.EnvironmentFiles) > 0, eco+"env-files.s3")
		need(c.RestartPolicy != nil, eco+"container-restart-policy")
		for _, p := range c.PortMappings {
			need(p.ContainerPortRange != nil, eco+"network.container-port-range")
		}
	}
	return attributes
}

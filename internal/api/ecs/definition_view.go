package ecs

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/task"
)

// The defaults of a health check, in seconds and tries, and of the time a container has to stop.
const (
	defaultInterval    = 30
	defaultTimeout     = 5
	defaultRetries     = 3
	defaultStopTimeout = 30
)

// definitionRow makes a row of a request that has passed checkDefinition: what the domain reads of it, with
// the defaults that hold when it runs, and the request itself.
func definitionRow(in *definition) task.Definition {
	mode := modeOf(in)
	row := task.Definition{
		Family: aws.ToString(in.Family), NetworkMode: string(mode), TaskRole: aws.ToString(in.TaskRoleArn), Unmet: unmet(in),
		Options: taskOptions(in), Sent: wire.Append(nil, in),
	}
	row.CPU, _ = strconv.Atoi(aws.ToString(in.Cpu)) // whole numbers: normaliseTaskSize has been here
	row.Memory, _ = strconv.Atoi(aws.ToString(in.Memory))
	for _, p := range in.PlacementConstraints {
		row.Constraints = append(row.Constraints, task.PlacementConstraint{Type: string(p.Type), Expression: aws.ToString(p.Expression)})
	}
	for _, c := range in.ContainerDefinitions {
		row.Containers = append(row.Containers, task.ContainerDefinition{
			Name:             aws.ToString(c.Name),
			Image:            aws.ToString(c.Image),
			Essential:        isEssential(c),
			EntryPoint:       c.EntryPoint,
			Command:          c.Command,
			Environment:      environment(c.Environment),
			WorkingDirectory: aws.ToString(c.WorkingDirectory),
			User:             aws.ToString(c.User),
			Ports:            portMappings(mode, c.PortMappings),
			HealthCheck:      healthCheck(c.HealthCheck),
			DependsOn:        dependencies(c),
			StopTimeout:      seconds(c.StopTimeout, defaultStopTimeout),
			Secrets:          secrets(c.Secrets),
			EnvironmentFiles: environmentFiles(c.EnvironmentFiles),
			Log:              logTarget(c.LogConfiguration),

			CPU:               int(c.Cpu),
			Memory:            int(aws.ToInt32(c.Memory)),
			MemoryReservation: int(aws.ToInt32(c.MemoryReservation)),
			Ulimits:           ulimits(c.Ulimits),
			Options:           containerOptions(c),
		})
	}
	return row
}

// environment is a map in which the later of two entries wins.
func environment(pairs []types.KeyValuePair) map[string]string {
	if len(pairs) == 0 {
		return nil
	}
	m := map[string]string{}
	for _, p := range pairs {
		m[aws.ToString(p.Name)] = aws.ToString(p.Value)
	}
	return m
}

// secrets are the variables whose values the node looks up.
func secrets(all []types.Secret) []task.Secret {
	var ss []task.Secret
	for _, s := range all {
		ss = append(ss, task.Secret{Name: aws.ToString(s.Name), From: aws.ToString(s.ValueFrom)})
	}
	return ss
}

func environmentFiles(all []types.EnvironmentFile) []string {
	var files []string
	for _, f := range all {
		files = append(files, aws.ToString(f.Value))
	}
	return files
}

// logTarget is what the awslogs driver is told; other drivers have no say in where the output goes.
func logTarget(c *types.LogConfiguration) *task.Log {
	if c == nil || c.LogDriver != types.LogDriverAwslogs {
		return nil
	}
	return &task.Log{
		Region: c.Options["awslogs-region"], Group: c.Options["awslogs-group"], Prefix: c.Options["awslogs-stream-prefix"],
		Create: strings.EqualFold(c.Options["awslogs-create-group"], "true"),
	}
}

// healthCheck has ECS's defaults; nil where there is none or the command is NONE.
func healthCheck(h *types.HealthCheck) *task.HealthCheck {
	if h == nil || h.Command[0] == "NONE" {
		return nil
	}
	command := h.Command
	if command[0] != "CMD" && command[0] != "CMD-SHELL" {
		command = append([]string{"CMD"}, command...)
	}
	retries := defaultRetries
	if h.Retries != nil {
		retries = int(*h.Retries)
	}
	return &task.HealthCheck{
		Command:     command,
		Interval:    seconds(h.Interval, defaultInterval),
		Timeout:     seconds(h.Timeout, defaultTimeout),
		Retries:     retries,
		StartPeriod: seconds(h.StartPeriod, 0),
	}
}

// unmet says what a definition needs of services that Rollcall has not: file systems of AWS's. A task without
// them would not be the task that was asked for.
func unmet(in *definition) string {
	const prefix = "ResourceInitializationError: "
	for _, v := range in.Volumes {
		kind := ""
		switch {
		case v.EfsVolumeConfiguration != nil:
			kind = "EFS"
		case v.FsxWindowsFileServerVolumeConfiguration != nil:
			kind = "FSx"
		case v.S3filesVolumeConfiguration != nil:
			kind = "S3"
		case aws.ToBool(v.ConfiguredAtLaunch):
			kind = "EBS"
		default:
			continue
		}
		return fmt.Sprintf("%sthis server has no %s for the volume %s; use a host or Docker volume", prefix, kind, aws.ToString(v.Name))
	}
	return ""
}

// definitionView is a definition as it was sent, with the members that AWS fills in and nothing else.
func definitionView(d *task.Definition) (*types.TaskDefinition, error) {
	in, err := kept[definition](fmt.Sprintf("task definition %s:%d", d.Family, d.Revision), d.Sent)
	if err != nil {
		return nil, err
	}
	view := &types.TaskDefinition{
		TaskDefinitionArn:       aws.String(d.ARN()),
		Family:                  aws.String(d.Family),
		Revision:                int32(d.Revision),
		Status:                  types.TaskDefinitionStatus(d.Status),
		RegisteredAt:            &d.Registered,
		RegisteredBy:            aws.String(rootARN(arn.Scope{Account: d.Account, Region: d.Region})),
		DeregisteredAt:          d.Deregistered,
		DeleteRequestedAt:       d.DeleteAsked,
		ContainerDefinitions:    make([]types.ContainerDefinition, len(in.ContainerDefinitions)),
		Compatibilities:         compatibilities(in),
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
		Volumes:                 orEmpty(in.Volumes),
		PlacementConstraints:    orEmpty(in.PlacementConstraints),
	}
	for i, c := range in.ContainerDefinitions {
		view.ContainerDefinitions[i] = containerView(modeOf(in), c)
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
	c.PortMappings = orEmpty(c.PortMappings)
	for i := range c.PortMappings {
		p := &c.PortMappings[i]
		p.Protocol = cmp.Or(p.Protocol, types.TransportProtocolTcp)
		if p.ContainerPort != nil {
			p.HostPort = hostPort(mode, *p)
		}
	}
	c.Environment = orEmpty(c.Environment)
	c.MountPoints = orEmpty(c.MountPoints)
	c.VolumesFrom = orEmpty(c.VolumesFrom)
	c.SystemControls = orEmpty(c.SystemControls)
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

// orEmpty is a list that is sent as [] when it is absent.
func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// requiredAttributes are the capabilities that a definition asks of its node (ECS Developer Guide, "Task
// definition parameters"), each once.
func requiredAttributes(in *definition) []types.Attribute {
	const com, eco = "com.amazonaws.ecs.capability.", "ecs.capability."
	var attributes []types.Attribute
	seen := map[string]bool{}
	need := func(condition bool, name string) {
		if condition && !seen[name] {
			seen[name] = true
			attributes = append(attributes, types.Attribute{Name: aws.String(name)})
		}
	}
	mode := modeOf(in)
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

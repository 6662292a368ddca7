package taskdef

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/task"
)

// The defaults of a health check, and of the time between SIGTERM and SIGKILL. All but the retries are in seconds.
const (
	defaultInterval    = 30
	defaultTimeout     = 5
	defaultRetries     = 3
	defaultStopTimeout = 30
)

// NewRow converts a request that has passed Check to a row: the request itself, and the members that the rest of the
// server reads, with the defaults that apply when a task runs.
func NewRow(in *Request) task.Definition {
	mode := NetworkMode(in)
	row := task.Definition{
		Family:      aws.ToString(in.Family),
		NetworkMode: string(mode),
		TaskRole:    aws.ToString(in.TaskRoleArn),
		Unmet:       unsupportedVolume(in),
		Options:     taskOptions(in),
		Sent:        codec.Encode(in),
	}
	row.CPU, _ = strconv.Atoi(aws.ToString(in.Cpu)) // Check has normalized both to whole numbers
	row.Memory, _ = strconv.Atoi(aws.ToString(in.Memory))
	for _, p := range in.PlacementConstraints {
		row.Constraints = append(row.Constraints, task.PlacementConstraint{
			Type: string(p.Type), Expression: aws.ToString(p.Expression),
		})
	}
	for _, c := range in.ContainerDefinitions {
		row.Containers = append(row.Containers, containerRow(mode, c))
	}
	return row
}

func containerRow(mode types.NetworkMode, c types.ContainerDefinition) task.ContainerDefinition {
	return task.ContainerDefinition{
		Name:             aws.ToString(c.Name),
		Image:            aws.ToString(c.Image),
		Essential:        isEssential(c),
		EntryPoint:       c.EntryPoint,
		Command:          c.Command,
		Environment:      environmentRow(c.Environment),
		WorkingDirectory: aws.ToString(c.WorkingDirectory),
		User:             aws.ToString(c.User),
		Ports:            portRows(mode, c.PortMappings),
		HealthCheck:      healthCheckRow(c.HealthCheck),
		DependsOn:        dependencyRows(c),
		StopTimeout:      seconds(c.StopTimeout, defaultStopTimeout),
		Secrets:          secretRows(c.Secrets),
		EnvironmentFiles: environmentFileRows(c.EnvironmentFiles),
		Log:              logRow(c.LogConfiguration),

		CPU:               int(c.Cpu),
		Memory:            int(aws.ToInt32(c.Memory)),
		MemoryReservation: int(aws.ToInt32(c.MemoryReservation)),
		Ulimits:           ulimitRows(c.Ulimits),
		Options:           containerOptions(c),
	}
}

// environmentRow returns variables as a map. If two have the same name, the later one applies.
func environmentRow(variables []types.KeyValuePair) map[string]string {
	var row map[string]string
	for _, v := range variables {
		row = set(row, aws.ToString(v.Name), aws.ToString(v.Value))
	}
	return row
}

func secretRows(secrets []types.Secret) []task.Secret {
	var rows []task.Secret
	for _, s := range secrets {
		rows = append(rows, task.Secret{Name: aws.ToString(s.Name), From: aws.ToString(s.ValueFrom)})
	}
	return rows
}

func environmentFileRows(files []types.EnvironmentFile) []string {
	var rows []string
	for _, f := range files {
		rows = append(rows, aws.ToString(f.Value))
	}
	return rows
}

// logRow returns the options of the log driver awslogs, or nil for the other drivers, whose options only the engine
// uses.
func logRow(c *types.LogConfiguration) *task.Log {
	if c == nil || c.LogDriver != types.LogDriverAwslogs {
		return nil
	}
	return &task.Log{
		Region: c.Options["awslogs-region"],
		Group:  c.Options["awslogs-group"],
		Prefix: c.Options["awslogs-stream-prefix"],
		Create: strings.EqualFold(c.Options["awslogs-create-group"], "true"),
	}
}

// healthCheckRow returns a health check with its defaults, or nil if the container has none or its command is NONE.
func healthCheckRow(h *types.HealthCheck) *task.HealthCheck {
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

func ulimitRows(ulimits []types.Ulimit) []task.Ulimit {
	var rows []task.Ulimit
	for _, u := range ulimits {
		rows = append(rows, task.Ulimit{Name: string(u.Name), Soft: int64(u.SoftLimit), Hard: int64(u.HardLimit)})
	}
	return rows
}

// dependencyRows returns the dependencies in dependsOn, and one for each container that the container links to or
// mounts the volumes of: an engine can create the container only after them.
func dependencyRows(c types.ContainerDefinition) []task.Dependency {
	var rows []task.Dependency
	for _, d := range c.DependsOn {
		rows = append(rows, task.Dependency{
			Container: aws.ToString(d.ContainerName), Condition: string(d.Condition),
		})
	}
	for _, name := range implicitDependencies(c) {
		if !slices.ContainsFunc(rows, func(d task.Dependency) bool { return d.Container == name }) {
			rows = append(rows, task.Dependency{Container: name, Condition: string(types.ContainerConditionStart)})
		}
	}
	return rows
}

// implicitDependencies returns the names of the containers that a container links to or mounts the volumes of.
func implicitDependencies(c types.ContainerDefinition) []string {
	var names []string
	for _, link := range c.Links {
		name, _, _ := strings.Cut(link, ":")
		names = append(names, name)
	}
	for _, v := range c.VolumesFrom {
		names = append(names, aws.ToString(v.SourceContainer))
	}
	return names
}

// portRows returns one row for each mapped port. In awsvpc mode the ports of a range are not mapped: every port of the
// task's address reaches the task.
func portRows(mode types.NetworkMode, mappings []types.PortMapping) []task.PortMapping {
	var rows []task.PortMapping
	for _, mapping := range mappings {
		first, last, isRange := parsePortRange(aws.ToString(mapping.ContainerPortRange))
		if mapping.ContainerPort != nil {
			first, last = int(*mapping.ContainerPort), int(*mapping.ContainerPort)
		} else if !isRange || mode == types.NetworkModeAwsvpc {
			continue
		}
		for n := first; n <= last; n++ {
			single := mapping
			single.ContainerPort = aws.Int32(int32(n))
			rows = append(rows, task.PortMapping{
				Name:          aws.ToString(mapping.Name),
				ContainerPort: n,
				HostPort:      int(*hostPort(mode, single)),
				Protocol:      string(cmp.Or(mapping.Protocol, types.TransportProtocolTcp)),
			})
		}
	}
	return rows
}

// hostPort returns the host port of a mapping. If the request has none, it is the container port where the task has its
// own address or the host's, and 0 in bridge mode, where a free port is chosen at each start.
func hostPort(mode types.NetworkMode, mapping types.PortMapping) *int32 {
	if mode != types.NetworkModeBridge && aws.ToInt32(mapping.HostPort) == 0 {
		return mapping.ContainerPort
	}
	return aws.Int32(aws.ToInt32(mapping.HostPort))
}

// unsupportedVolume returns why tasks of a definition cannot start, or an empty string: they need a file system that
// only AWS has. A task without the file system would not be the task that the client requested.
func unsupportedVolume(in *Request) string {
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
		return fmt.Sprintf("ResourceInitializationError: this server has no %s for the volume %s; "+
			"use a host or Docker volume", kind, aws.ToString(v.Name))
	}
	return ""
}

// seconds converts n to a duration. An absent n is absentAs.
func seconds(n *int32, absentAs int32) time.Duration {
	if n != nil {
		absentAs = *n
	}
	return time.Duration(absentAs) * time.Second
}

// set sets an entry of a map, which may be nil.
func set(m map[string]string, name, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[name] = value
	return m
}

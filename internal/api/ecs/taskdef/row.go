package taskdef

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/task"
)

// The defaults of a health check, in seconds and tries, and of the time a container has to stop.
const (
	defaultInterval    = 30
	defaultTimeout     = 5
	defaultRetries     = 3
	defaultStopTimeout = 30
)

// NewRow makes a row of a request that has passed checkDefinition: what the domain reads of it, with
// the defaults that hold when it runs, and the request itself.
func NewRow(in *Request) task.Definition {
	mode := NetworkMode(in)
	row := task.Definition{
		Family: aws.ToString(in.Family), NetworkMode: string(mode), TaskRole: aws.ToString(in.TaskRoleArn), Unmet: unmet(in),
		Options: taskOptions(in), Sent: codec.Encode(in),
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
func unmet(in *Request) string {
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

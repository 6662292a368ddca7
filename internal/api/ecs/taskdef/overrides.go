package taskdef

import (
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/overlay"
	"github.com/bakingclouds/rollcall/internal/task"
)

// maxOverrides is how long the overrides of one request may be, as JSON (ECS API Reference, RunTask).
const maxOverrides = 8192

// CheckOverrides applies the rules of overrides that need no more than the request.
func CheckOverrides(o *types.TaskOverride) error {
	if o == nil {
		return nil
	}
	//lint:ignore SA1019 it is read to be refused
	if len(o.InferenceAcceleratorOverrides) > 0 {
		return ecserr.Client("Unsupported field 'inferenceAcceleratorOverrides'")
	}
	for _, c := range o.ContainerOverrides {
		if aws.ToString(c.Name) == "" {
			return ecserr.Invalid("The name of a container override can not be blank.")
		}
	}
	if n := len(codec.Encode(o)); n > maxOverrides {
		return ecserr.Invalid("The overrides have %d characters; at most %d are allowed.", n, maxOverrides)
	}
	return nil
}

// ApplyOverrides is a definition as a task with these overrides runs it. in stays as it is.
func ApplyOverrides(in *Request, o *types.TaskOverride) (*Request, error) {
	next := *in
	if o == nil {
		return &next, nil
	}
	overlay.Value(&next.Cpu, o.Cpu)
	overlay.Value(&next.Memory, o.Memory)
	overlay.Value(&next.TaskRoleArn, o.TaskRoleArn)
	overlay.Value(&next.ExecutionRoleArn, o.ExecutionRoleArn)
	overlay.Value(&next.EphemeralStorage, o.EphemeralStorage)
	next.ContainerDefinitions = slices.Clone(in.ContainerDefinitions)
	for _, over := range o.ContainerOverrides {
		name := aws.ToString(over.Name)
		i := slices.IndexFunc(next.ContainerDefinitions, func(c types.ContainerDefinition) bool { return aws.ToString(c.Name) == name })
		if i < 0 {
			return nil, ecserr.Invalid("Override for container named %s is not a container in the TaskDefinition.", name)
		}
		c := &next.ContainerDefinitions[i]
		if len(over.Command) > 0 {
			c.Command = over.Command
		}
		c.Environment = slices.Concat(c.Environment, over.Environment) // the later of two wins
		if len(over.EnvironmentFiles) > 0 {
			c.EnvironmentFiles = over.EnvironmentFiles
		}
		if over.Cpu != nil {
			c.Cpu = *over.Cpu
		}
		overlay.Value(&c.Memory, over.Memory)
		overlay.Value(&c.MemoryReservation, over.MemoryReservation)
		if len(over.ResourceRequirements) > 0 {
			c.ResourceRequirements = over.ResourceRequirements
		}
	}
	return &next, nil
}

// NewOverrides holds overrides against the definition that they change: what comes out must be one that could be
// registered, and run on Fargate where that is asked for. It returns them as rows keep them, nil for none.
func NewOverrides(in *Request, o *types.TaskOverride, launch types.LaunchType) (*task.Overrides, error) {
	next, err := ApplyOverrides(in, o)
	if err == nil {
		err = ecserr.First(NormalizeSize(next), checkContainerMemory(next), checkEnvironment(next))
	}
	if err == nil && launch == types.LaunchTypeFargate {
		err = checkFargate(next)
	}
	if err != nil || !overrides(o) {
		return nil, err
	}
	row := &task.Overrides{
		TaskRole: aws.ToString(o.TaskRoleArn), ExecutionRole: aws.ToString(o.ExecutionRoleArn), Sent: codec.Encode(o),
	}
	if o.Cpu != nil {
		row.CPU, _ = strconv.Atoi(*next.Cpu)
	}
	if o.Memory != nil {
		row.Memory, _ = strconv.Atoi(*next.Memory)
	}
	for _, c := range o.ContainerOverrides {
		if row.Containers == nil {
			row.Containers = map[string]task.ContainerOverride{}
		}
		over := row.Containers[aws.ToString(c.Name)] // of two for one container the later wins
		if len(c.Command) > 0 {
			over.Command = c.Command
		}
		if len(c.EnvironmentFiles) > 0 {
			over.EnvironmentFiles = environmentFiles(c.EnvironmentFiles)
		}
		for name, value := range environment(c.Environment) {
			if over.Environment == nil {
				over.Environment = map[string]string{}
			}
			over.Environment[name] = value
		}
		for _, n := range []struct {
			to   *int
			from *int32
		}{{&over.CPU, c.Cpu}, {&over.Memory, c.Memory}, {&over.MemoryReservation, c.MemoryReservation}} {
			if n.from != nil {
				*n.to = int(*n.from)
			}
		}
		row.Containers[aws.ToString(c.Name)] = over
	}
	return row, nil
}

// overrides reports whether anything is overridden; clients send the containers' names alone as well.
func overrides(o *types.TaskOverride) bool {
	if o == nil {
		return false
	}
	return o.Cpu != nil || o.Memory != nil || o.ExecutionRoleArn != nil || o.TaskRoleArn != nil || o.EphemeralStorage != nil ||
		slices.ContainsFunc(o.ContainerOverrides, func(c types.ContainerOverride) bool {
			return c.Command != nil || c.Cpu != nil || c.Memory != nil || c.MemoryReservation != nil ||
				len(c.Environment)+len(c.EnvironmentFiles)+len(c.ResourceRequirements) > 0
		})
}

// SentOverrides are a task's overrides as they came.
func SentOverrides(t *task.Task) (*types.TaskOverride, error) {
	if t.Overrides == nil {
		return &types.TaskOverride{}, nil
	}
	return codec.Decode[types.TaskOverride]("task "+string(t.ID), t.Overrides.Sent)
}

// RenderOverrides has every container of the definition, also those of which nothing is overridden.
func RenderOverrides(def *Request, o *types.TaskOverride) *types.TaskOverride {
	view := *o
	view.ContainerOverrides = []types.ContainerOverride{}
	//lint:ignore SA1019 AWS still sends it, and clients read it
	view.InferenceAcceleratorOverrides = []types.InferenceAcceleratorOverride{}
	for _, c := range def.ContainerDefinitions {
		over := types.ContainerOverride{Name: c.Name}
		for _, sent := range o.ContainerOverrides {
			if aws.ToString(sent.Name) == aws.ToString(c.Name) {
				over = sent
			}
		}
		view.ContainerOverrides = append(view.ContainerOverrides, over)
	}
	return &view
}

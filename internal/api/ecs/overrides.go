package ecs

import (
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/task"
)

// maxOverrides is how long the overrides of one request may be, as JSON (ECS API Reference, RunTask).
const maxOverrides = 8192

// checkOverrides applies the rules of overrides that need no more than the request.
func checkOverrides(o *types.TaskOverride) error {
	if o == nil {
		return nil
	}
	//lint:ignore SA1019 it is read to be refused
	if len(o.InferenceAcceleratorOverrides) > 0 {
		return clientError("Unsupported field 'inferenceAcceleratorOverrides'")
	}
	for _, c := range o.ContainerOverrides {
		if aws.ToString(c.Name) == "" {
			return invalid("The name of a container override can not be blank.")
		}
	}
	if n := len(wire.Append(nil, o)); n > maxOverrides {
		return invalid("The overrides have %d characters; at most %d are allowed.", n, maxOverrides)
	}
	return nil
}

// overridden is a definition as a task with these overrides runs it. in stays as it is.
func overridden(in *definition, o *types.TaskOverride) (*definition, error) {
	next := *in
	if o == nil {
		return &next, nil
	}
	set(&next.Cpu, o.Cpu)
	set(&next.Memory, o.Memory)
	set(&next.TaskRoleArn, o.TaskRoleArn)
	set(&next.ExecutionRoleArn, o.ExecutionRoleArn)
	set(&next.EphemeralStorage, o.EphemeralStorage)
	next.ContainerDefinitions = slices.Clone(in.ContainerDefinitions)
	for _, over := range o.ContainerOverrides {
		name := aws.ToString(over.Name)
		i := slices.IndexFunc(next.ContainerDefinitions, func(c types.ContainerDefinition) bool { return aws.ToString(c.Name) == name })
		if i < 0 {
			return nil, invalid("Override for container named %s is not a container in the TaskDefinition.", name)
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
		set(&c.Memory, over.Memory)
		set(&c.MemoryReservation, over.MemoryReservation)
		if len(over.ResourceRequirements) > 0 {
			c.ResourceRequirements = over.ResourceRequirements
		}
	}
	return &next, nil
}

// override holds overrides against the definition that they change: what comes out must be one that could be
// registered, and run on Fargate where that is asked for. It returns them as rows keep them, nil for none.
func override(in *definition, o *types.TaskOverride, launch types.LaunchType) (*task.Overrides, error) {
	next, err := overridden(in, o)
	if err == nil {
		err = first(normaliseTaskSize(next), checkContainerMemory(next), checkEnvironment(next))
	}
	if err == nil && launch == types.LaunchTypeFargate {
		err = checkFargate(next)
	}
	if err != nil || !overrides(o) {
		return nil, err
	}
	row := &task.Overrides{
		TaskRole: aws.ToString(o.TaskRoleArn), ExecutionRole: aws.ToString(o.ExecutionRoleArn), Sent: wire.Append(nil, o),
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

// sentOverrides are a task's overrides as they came.
func sentOverrides(t *task.Task) (*types.TaskOverride, error) {
	if t.Overrides == nil {
		return &types.TaskOverride{}, nil
	}
	return kept[types.TaskOverride]("task "+t.ID, t.Overrides.Sent)
}

// overridesView has every container of the definition, also those of which nothing is overridden.
func overridesView(def *definition, o *types.TaskOverride) *types.TaskOverride {
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

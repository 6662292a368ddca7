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

// maxOverrides is the size of the largest overrides of a request, in bytes of JSON (ECS API Reference, RunTask).
const maxOverrides = 8192

// CheckOverrides applies the rules of overrides that do not depend on the definition.
func CheckOverrides(o *types.TaskOverride) error {
	if o == nil {
		return nil
	}
	//nolint:staticcheck // a request that has the deprecated member is rejected
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

// ApplyOverrides returns the definition that a task with these overrides runs. It leaves in as it is.
func ApplyOverrides(in *Request, o *types.TaskOverride) (*Request, error) {
	applied := *in
	if o == nil {
		return &applied, nil
	}
	overlay.Value(&applied.Cpu, o.Cpu)
	overlay.Value(&applied.Memory, o.Memory)
	overlay.Value(&applied.TaskRoleArn, o.TaskRoleArn)
	overlay.Value(&applied.ExecutionRoleArn, o.ExecutionRoleArn)
	overlay.Value(&applied.EphemeralStorage, o.EphemeralStorage)
	applied.ContainerDefinitions = slices.Clone(in.ContainerDefinitions)
	for _, override := range o.ContainerOverrides {
		name := aws.ToString(override.Name)
		i := slices.IndexFunc(applied.ContainerDefinitions, func(c types.ContainerDefinition) bool {
			return aws.ToString(c.Name) == name
		})
		if i < 0 {
			return nil, ecserr.Invalid("Override for container named %s is not a container in the TaskDefinition.", name)
		}
		applyContainerOverride(&applied.ContainerDefinitions[i], override)
	}
	return &applied, nil
}

func applyContainerOverride(c *types.ContainerDefinition, override types.ContainerOverride) {
	if len(override.Command) > 0 {
		c.Command = override.Command
	}
	c.Environment = slices.Concat(c.Environment, override.Environment) // of two variables, the later one applies
	if len(override.EnvironmentFiles) > 0 {
		c.EnvironmentFiles = override.EnvironmentFiles
	}
	overlay.Plain(&c.Cpu, override.Cpu)
	overlay.Value(&c.Memory, override.Memory)
	overlay.Value(&c.MemoryReservation, override.MemoryReservation)
	if len(override.ResourceRequirements) > 0 {
		c.ResourceRequirements = override.ResourceRequirements
	}
}

// NewOverrides converts overrides to a row, or to nil if they override nothing. The definition that results must be one
// that a client could register, and one that Fargate runs if the task is launched there.
func NewOverrides(in *Request, o *types.TaskOverride, launchType types.LaunchType) (*task.Overrides, error) {
	applied, err := ApplyOverrides(in, o)
	if err == nil {
		err = ecserr.First(NormalizeSize(applied), checkContainerMemory(applied), checkEnvironment(applied))
	}
	if err == nil && launchType == types.LaunchTypeFargate {
		err = checkFargate(applied)
	}
	if err != nil || overridesNothing(o) {
		return nil, err
	}
	row := &task.Overrides{
		TaskRole: aws.ToString(o.TaskRoleArn), ExecutionRole: aws.ToString(o.ExecutionRoleArn), Sent: codec.Encode(o),
	}
	if o.Cpu != nil {
		row.CPU, _ = strconv.Atoi(*applied.Cpu)
	}
	if o.Memory != nil {
		row.Memory, _ = strconv.Atoi(*applied.Memory)
	}
	for _, override := range o.ContainerOverrides {
		if row.Containers == nil {
			row.Containers = map[string]task.ContainerOverride{}
		}
		name := aws.ToString(override.Name)
		// Of two overrides for one container, the members of the later one apply.
		row.Containers[name] = containerOverrideRow(row.Containers[name], override)
	}
	return row, nil
}

func containerOverrideRow(row task.ContainerOverride, override types.ContainerOverride) task.ContainerOverride {
	if len(override.Command) > 0 {
		row.Command = override.Command
	}
	if len(override.EnvironmentFiles) > 0 {
		row.EnvironmentFiles = environmentFileRows(override.EnvironmentFiles)
	}
	for name, value := range environmentRow(override.Environment) {
		row.Environment = set(row.Environment, name, value)
	}
	overlayInt(&row.CPU, override.Cpu)
	overlayInt(&row.Memory, override.Memory)
	overlayInt(&row.MemoryReservation, override.MemoryReservation)
	return row
}

func overlayInt(to *int, from *int32) {
	if from != nil {
		*to = int(*from)
	}
}

// overridesNothing reports whether the overrides have no members. Clients also send overrides that consist of the
// containers' names alone.
func overridesNothing(o *types.TaskOverride) bool {
	return o == nil ||
		o.Cpu == nil && o.Memory == nil && o.ExecutionRoleArn == nil && o.TaskRoleArn == nil &&
			o.EphemeralStorage == nil && !slices.ContainsFunc(o.ContainerOverrides, overridesContainer)
}

func overridesContainer(c types.ContainerOverride) bool {
	return c.Command != nil || c.Cpu != nil || c.Memory != nil || c.MemoryReservation != nil ||
		len(c.Environment)+len(c.EnvironmentFiles)+len(c.ResourceRequirements) > 0
}

// OverridesOf returns the overrides that a task was started with.
func OverridesOf(t *task.Task) (*types.TaskOverride, error) {
	if t.Overrides == nil {
		return &types.TaskOverride{}, nil
	}
	return codec.Decode[types.TaskOverride]("task "+string(t.ID), t.Overrides.Sent)
}

// RenderOverrides returns the overrides as ECS describes them: with every container of the definition, including those
// that have no overrides.
func RenderOverrides(def *Request, o *types.TaskOverride) *types.TaskOverride {
	view := *o
	view.ContainerOverrides = []types.ContainerOverride{}
	//nolint:staticcheck // AWS still sends the deprecated member, and clients read it
	view.InferenceAcceleratorOverrides = []types.InferenceAcceleratorOverride{}
	for _, c := range def.ContainerDefinitions {
		override := types.ContainerOverride{Name: c.Name}
		for _, sent := range o.ContainerOverrides {
			if aws.ToString(sent.Name) == aws.ToString(c.Name) {
				override = sent
			}
		}
		view.ContainerOverrides = append(view.ContainerOverrides, override)
	}
	return &view
}

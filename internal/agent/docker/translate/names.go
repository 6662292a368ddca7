package translate

import (
	"fmt"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/engineopts"
)

// PauseName is the name of the pause container among a task's containers. Names in a task definition are never empty.
const PauseName = ""

// Labels of ECS's agent that container names are made from.
const (
	LabelFamily   = "com.amazonaws.ecs.task-definition-family"
	LabelRevision = "com.amazonaws.ecs.task-definition-version"
)

// ContainerName returns the engine's name for a task's container. It has the form that ECS's agent uses and docker ps
// shows (Amazon ECS Developer Guide, "Task definition parameters"), but is the same each time for one task, so that a
// container can be found again if the server stops before it has stored the engine's id.
func ContainerName(spec *agent.TaskSpec, name string) string {
	if name == PauseName {
		name = "pause"
	}
	return fmt.Sprintf("ecs-%.60s-%s-%.60s-%.20s", spec.Labels[LabelFamily], spec.Labels[LabelRevision], name, spec.ID)
}

// VolumeSource returns what the engine mounts for a volume: a folder of the host, or the name of a Docker volume. The
// name of a volume that belongs to one task contains the task's id.
func VolumeSource(spec *agent.TaskSpec, v *engineopts.Volume) string {
	switch {
	case v.HostPath != "":
		return v.HostPath
	case v.Shared:
		return v.Name
	}
	return fmt.Sprintf("ecs-%.60s-%.20s", v.Name, spec.ID)
}

// NeedsPause reports whether a task needs a pause container: a container that holds the namespaces that the task's
// containers share.
func NeedsPause(spec *agent.TaskSpec) bool {
	awsvpc := spec.NetworkMode == agent.NetworkAWSVPC
	if len(spec.Containers) > 1 {
		return awsvpc || spec.Options.PID == engineopts.Shared || spec.Options.IPC == engineopts.Shared
	}
	// The only container has no network, but the task must have its address somewhere.
	return awsvpc && spec.Containers[0].Options.DisableNetworking
}

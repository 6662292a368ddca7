// Package translate converts a task's containers to the terms of the Docker Engine API, and the state of a container to
// the agent's terms. Its functions are pure.
//
// From the definition to the engine: [Validate] rejects what no engine can run (validate.go), [ContainerOptions] and
// [PauseOptions] return what the engine is asked to create (options.go, resources.go), given the [Assignment] that the
// runtime has reserved, and names.go names containers and volumes. From the engine: [Status] and [ShouldRestart].
package translate

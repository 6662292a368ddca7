// Package taskdef checks task definitions, converts them to rows, and renders rows as task definitions again.
//
// [Check] lists all rules of RegisterTaskDefinition. [NewRow] converts a request that has passed Check to the row that
// the rest of the server reads, and [Render] returns a row's definition as ECS describes it: with every member that the
// client sent, and with AWS's defaults for the others.
//
// RunTask can override members of a definition for one task. [CheckOverrides] and [NewOverrides] check the overrides
// and convert them to a row; [ApplyOverrides] returns the definition that the task runs.
//
// The package is pure: it reads neither the store nor the clock. The texts of its errors are those of AWS where AWS has
// one.
package taskdef

import (
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/task"
)

// Request is the request that a revision is registered with.
type Request = sdk.RegisterTaskDefinitionInput

// MaxSize is the size of the largest task definition, in bytes (ECS Developer Guide, "Service quotas").
const MaxSize = 64 << 10

// Check applies the rules of RegisterTaskDefinition and returns the error of the first broken one. It normalizes the
// task's cpu and memory to the form in which AWS returns them.
func Check(in *Request) error {
	for _, check := range []func(*Request) error{
		checkFamily,
		NormalizeSize,
		checkContainers,
		checkContainerMemory,
		checkNetworkMode,
		checkPorts,
		checkVolumes,
		checkEnvironment,
		checkDependencies,
		checkHealthChecks,
		checkTimeouts,
		checkLogging,
		checkPlacement,
		checkRequiredCompatibilities,
		checkPortRanges,
		checkVolumeKinds,
		checkLinks,
		checkContainerSettings,
		checkRuntimes,
	} {
		if err := check(in); err != nil {
			return err
		}
	}
	return nil
}

// RequestOf returns the request that a revision was registered with.
func RequestOf(row *task.Definition) (*Request, error) {
	return codec.Decode[Request]("task definition "+identifier.DefinitionOf(row).String(), row.Sent)
}

// NetworkMode returns the network mode of a definition. The default is bridge.
func NetworkMode(in *Request) types.NetworkMode {
	if in.NetworkMode == "" {
		return types.NetworkModeBridge
	}
	return in.NetworkMode
}

// isEssential reports whether the task stops when the container stops. The default is true.
func isEssential(c types.ContainerDefinition) bool { return c.Essential == nil || *c.Essential }

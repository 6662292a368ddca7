// Package taskdef checks task definitions, converts them to rows, and renders rows as task definitions again.
//
// Start with Check, which lists all rules of RegisterTaskDefinition. NewRow converts a request that has passed Check to
// the row that the rest of the server reads; Render returns the definition with every member that was sent, and with
// AWS's defaults where none was. overrides.go does the same for the overrides of one task.
//
// The package is pure: it reads neither rows nor clock.
package taskdef

import (
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
)

// Request is the request that a revision is made from.
type Request = sdk.RegisterTaskDefinitionInput

// Check applies the rules of RegisterTaskDefinition; the first broken one answers. It brings the
// texts of cpu and memory into the form that AWS gives them back in.
func Check(in *Request) error {
	for _, check := range []func(*Request) error{
		checkFamily, NormalizeSize, checkContainers, checkContainerMemory, checkNetworkMode, checkPorts,
		checkVolumes, checkEnvironment, checkDependencies, checkHealthChecks, checkTimeouts, checkLogging, checkPlacement,
		checkRequiredCompatibilities, checkPortRanges, checkVolumeKinds, checkLinks, checkContainerSettings, checkRuntimes,
	} {
		if err := check(in); err != nil {
			return err
		}
	}
	return nil
}

// MaxSize is the size of the largest task definition, in bytes (ECS Developer Guide, "Service
// quotas").
const MaxSize = 64 << 10

package image

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// Parts of the engine's messages, by which failures of a pull are distinguished, since older engines report no codes.
var (
	notFound = []string{"manifest unknown", "not found"}
	denied   = []string{
		"access denied", "unauthorized", "no basic auth credentials", "denied:", "authentication required", "HTTP 403",
		"HTTP 401",
	}
	otherPlatform = []string{"no matching manifest"}
	damaged       = []string{"verification failed", "unexpected EOF", "digest"}
)

func containsAny(message string, parts []string) bool {
	return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(message, p) })
}

// isRefusal reports whether the registry has answered that it does not provide the image.
func isRefusal(err error) bool {
	message := engineapi.Message(err)
	return errdefs.IsNotFound(err) || errdefs.IsUnauthorized(err) || errdefs.IsPermissionDenied(err) ||
		containsAny(message, notFound) || containsAny(message, denied) || containsAny(message, otherPlatform)
}

// pullError returns the error for a failed pull: ECS's code (Amazon ECS Developer Guide, "CannotPullContainer task
// errors"), the engine's message, and advice.
func pullError(ref reference.Named, err error) error {
	if engineapi.Unreachable(err) {
		return engineapi.Error(err)
	}
	message := strings.TrimSuffix(engineapi.Message(err), ".")
	return fault.New(fault.Invalid, "image", "CannotPullContainerError: %s: %s; %s",
		reference.FamiliarString(ref), message, advice(message, ref))
}

// advice returns what the user can do about a failed pull.
func advice(message string, ref reference.Named) string {
	registry, name := reference.Domain(ref), reference.FamiliarString(ref)
	switch {
	case containsAny(message, otherPlatform):
		return "the image is not built for this machine's platform; " +
			"build it for this platform (docker build --platform), or run the task on another node"
	case containsAny(message, denied):
		return fmt.Sprintf("check the name of the image, log in as the user that Rollcall runs as (docker login %s), "+
			"or add repositoryCredentials to the container", registry)
	case containsAny(message, notFound):
		return "check the name of the image, or build or load it on this machine (docker build -t, docker load)"
	case containsAny(message, damaged):
		return "the data of the image was damaged; check whether docker pull " + name + " fails too"
	}
	return fmt.Sprintf("check that this machine reaches %s (docker pull %s); "+
		"without a registry, load the image on this machine (docker save, docker load)", registry, name)
}

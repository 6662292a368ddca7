// Package speccheck holds the rules for a task's spec that every runtime shares: ids and names, which become names of
// folders and containers, the network mode, and port mappings.
//
// A runtime calls [Check] before it creates anything, adds its own rules, and turns the error into the reason that the
// task stops with. The package does not know which runtime asks, and reads nothing but the spec.
package speccheck

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/bakingclouds/rollcall/internal/agent"
)

var (
	taskID        = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	containerName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)
	networkModes  = []string{"", agent.NetworkAWSVPC, agent.NetworkBridge, agent.NetworkHost, agent.NetworkNone}
	protocols     = []string{"", "tcp", "udp"}
)

// Check returns an error if no runtime can run the task, whatever the machine has. The error names the container and
// the member of the task definition; it does not name the task.
func Check(spec *agent.TaskSpec) error {
	switch {
	case !taskID.MatchString(spec.ID):
		return fmt.Errorf("the task id %q must be 1 to 128 letters, digits, hyphens and underscores", spec.ID)
	case !slices.Contains(networkModes, spec.NetworkMode):
		return fmt.Errorf("networkMode: %q is not one of awsvpc, bridge, host, none", spec.NetworkMode)
	case len(spec.Containers) == 0:
		return errors.New("the task has no containers")
	}
	seen := map[string]bool{}
	for _, c := range spec.Containers {
		switch {
		case !containerName.MatchString(c.Name):
			return fmt.Errorf("container %q: the name must be 1 to 255 letters, digits, hyphens and underscores",
				c.Name)
		case seen[c.Name]:
			return fmt.Errorf("container %q: another container has the same name", c.Name)
		}
		seen[c.Name] = true
		if err := checkPorts(spec.NetworkMode, c.Ports); err != nil {
			return fmt.Errorf("container %q: portMappings: %w", c.Name, err)
		}
	}
	return nil
}

func checkPorts(networkMode string, ports []agent.Port) error {
	if networkMode == agent.NetworkNone && len(ports) > 0 {
		return errors.New("containers in network mode none cannot have ports")
	}
	for _, p := range ports {
		if p.Container == 0 || !slices.Contains(protocols, p.Protocol) {
			return fmt.Errorf("port %d/%s must be 1 to 65535, over tcp or udp", p.Container, p.Protocol)
		}
	}
	return nil
}

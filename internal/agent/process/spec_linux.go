package process

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// Names become folders and parts of environment variables, so nothing else may stand in them.
var (
	taskIDForm    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	containerForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)
)

// validate says why a spec can never run here, as fault.Invalid.
func validate(spec agent.TaskSpec) error {
	invalid := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "task", "%s: %s", spec.ID, fmt.Sprintf(format, args...))
	}
	switch {
	case !taskIDForm.MatchString(spec.ID):
		return fault.New(fault.Invalid, "task", "the id %q has other characters than letters, digits, - and _, or is not 1 to 128 long", spec.ID)
	case !slices.Contains([]string{"", agent.NetworkAWSVPC, agent.NetworkBridge, agent.NetworkHost, agent.NetworkNone}, spec.NetworkMode):
		return invalid("the network mode %q is none of awsvpc, bridge, host, none", spec.NetworkMode)
	case len(spec.Containers) == 0:
		return invalid("it has no containers")
	}
	seen := map[string]bool{}
	for _, c := range spec.Containers {
		switch {
		case !containerForm.MatchString(c.Name):
			return invalid("the container name %q has other characters than letters, digits, - and _, or is not 1 to 255 long", c.Name)
		case seen[c.Name]:
			return invalid("two containers are named %q", c.Name)
		case len(c.Argv()) == 0 || c.Argv()[0] == "":
			return invalid("container %s has neither entryPoint nor command; the process runtime takes none from the image, so name the program in command", c.Name)
		case spec.NetworkMode == agent.NetworkNone && len(c.Ports) > 0:
			return invalid("container %s maps ports, which network mode none does not have", c.Name)
		}
		seen[c.Name] = true
		for _, p := range c.Ports {
			if p.Container == 0 || !slices.Contains([]string{"", "tcp", "udp"}, p.Protocol) {
				return invalid("container %s maps port %d/%s; a port is 1 to 65535, tcp or udp", c.Name, p.Container, p.Protocol)
			}
		}
		for _, u := range c.Ulimits {
			if _, known := ulimitNumbers[u.Name]; !known {
				return invalid("container %s sets the ulimit %q, which is not known here", c.Name, u.Name)
			}
		}
		if _, err := checkArgv(c.HealthCheck); err != nil {
			return invalid("container %s: %v", c.Name, err)
		}
	}
	return nil
}

// environment is what a container finds, later maps winning over earlier ones: the base of every container, the task's,
// the container's own, and last what this runtime tells. Order of the result is not defined.
func environment(layers ...map[string]string) []string {
	merged := map[string]string{}
	for _, layer := range layers {
		for name, value := range layer {
			merged[name] = value
		}
	}
	env := make([]string, 0, len(merged))
	for name, value := range merged {
		env = append(env, name+"="+value)
	}
	return env
}

// told is the part of a container's environment that this runtime knows.
func told(spec agent.TaskSpec, address netip.Addr, ports []agent.PortBinding) map[string]string {
	env := map[string]string{"HOSTNAME": spec.ID[:min(len(spec.ID), 12)]}
	if address.IsValid() {
		env["ROLLCALL_ADDRESS"] = address.String()
	}
	if spec.DNS != "" {
		env["ROLLCALL_DNS"] = spec.DNS
	}
	for _, p := range ports {
		env["ROLLCALL_PORT_"+strconv.Itoa(int(p.Container))] = strconv.Itoa(int(p.Host))
	}
	return env
}

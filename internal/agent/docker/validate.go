package docker

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// validate says why a spec can never run here, as fault.Invalid. What the engine itself refuses is told when a container
// is made.
func validate(spec *agent.TaskSpec) error {
	invalid := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "task", "ResourceInitializationError: %s", fmt.Sprintf(format, args...))
	}
	switch {
	case !slices.Contains([]string{"", agent.NetworkAWSVPC, agent.NetworkBridge, agent.NetworkHost, agent.NetworkNone}, spec.NetworkMode):
		return invalid("the networkMode %q is none of awsvpc, bridge, host, none", spec.NetworkMode)
	case len(spec.Containers) == 0:
		return invalid("the task has no containers")
	}
	for _, c := range spec.Containers {
		for _, p := range c.Ports {
			if p.Container == 0 || !slices.Contains([]string{"", "tcp", "udp"}, p.Protocol) {
				return invalid("container %s: portMappings: %d/%s; a port is 1 to 65535, tcp or udp", c.Name, p.Container, p.Protocol)
			}
		}
		for _, server := range c.Options.DNS {
			if _, err := netip.ParseAddr(server); err != nil {
				return invalid("container %s: dnsServers: %q is not an IP address", c.Name, server)
			}
		}
		for _, m := range c.Options.Mounts {
			if !strings.HasPrefix(m.Path, "/") {
				return invalid("container %s: mountPoints: the containerPath %q does not begin with /", c.Name, m.Path)
			}
		}
		for _, link := range c.Options.Links {
			to, _, _ := strings.Cut(link, ":")
			if !slices.ContainsFunc(spec.Containers, func(other agent.ContainerSpec) bool { return other.Name == to }) {
				return invalid("container %s: links: the task has no container %q", c.Name, to)
			}
		}
	}
	return nil
}

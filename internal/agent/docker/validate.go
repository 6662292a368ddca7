package docker

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/engineopts"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// Names become folders, and parts of the engine's names, so nothing else may stand in them.
var (
	taskIDForm    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	containerForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)
)

// validate says why a spec can never run here, as fault.Invalid, with the name of the member of the definition. What depends
// on the machine (a driver of its engine, an image) is seen when it is made.
func validate(spec *agent.TaskSpec) error {
	invalid := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "task", "ResourceInitializationError: "+format, args...)
	}
	if !taskIDForm.MatchString(spec.ID) {
		return invalid("the task's id %q has other characters than letters, digits, - and _, or is not 1 to 128 long", spec.ID)
	}
	if trouble := taskTrouble(spec); trouble != "" {
		return invalid("%s", trouble)
	}
	seen := map[string]bool{}
	for i := range spec.Containers {
		c := &spec.Containers[i]
		trouble := containerTrouble(spec, c)
		switch {
		case !containerForm.MatchString(c.Name):
			trouble = "its name has other characters than letters, digits, - and _, or is not 1 to 255 long"
		case seen[c.Name]:
			trouble = "another container has its name"
		}
		if trouble != "" {
			return invalid("container %q: %s", c.Name, trouble)
		}
		seen[c.Name] = true
	}
	return nil
}

func taskTrouble(spec *agent.TaskSpec) string {
	modes := []string{"", agent.NetworkAWSVPC, agent.NetworkBridge, agent.NetworkHost, agent.NetworkNone}
	switch {
	case !slices.Contains(modes, spec.NetworkMode):
		return fmt.Sprintf("networkMode: %q is none of awsvpc, bridge, host, none", spec.NetworkMode)
	case len(spec.Containers) == 0:
		return "it has no containers"
	case spec.Resolver != nil && !spec.Resolver.Nameserver.IsValid():
		return "its resolver has no address"
	case !slices.Contains([]string{"", "host", engineopts.Shared}, spec.Options.PID):
		return fmt.Sprintf("pidMode: %q is neither host nor task", spec.Options.PID)
	case !slices.Contains([]string{"", "host", "none", engineopts.Shared}, spec.Options.IPC):
		return fmt.Sprintf("ipcMode: %q is none of host, task, none", spec.Options.IPC)
	}
	for _, v := range spec.Options.Volumes {
		if v.HostPath != "" && (!path.IsAbs(v.HostPath) || strings.Contains(v.HostPath, ":")) {
			return fmt.Sprintf("volumes: %s: sourcePath %q is not a whole path without a colon", v.Name, v.HostPath)
		}
	}
	return ""
}

func containerTrouble(spec *agent.TaskSpec, c *agent.ContainerSpec) string {
	if c.Image == "" {
		return "image: it has none"
	}
	if spec.NetworkMode == agent.NetworkNone && len(c.Ports) > 0 {
		return "portMappings: the network mode none has no ports"
	}
	if c.Options.DisableNetworking && len(c.Ports) > 0 {
		return "portMappings: a container with disableNetworking has no ports"
	}
	for _, p := range c.Ports {
		if p.Container == 0 || !slices.Contains([]string{"", "tcp", "udp"}, p.Protocol) {
			return fmt.Sprintf("portMappings: %d/%s; a port is 1 to 65535, tcp or udp", p.Container, p.Protocol)
		}
	}
	for _, u := range c.Ulimits {
		if !slices.Contains(ulimits, u.Name) {
			return fmt.Sprintf("ulimits: %q is not known here", u.Name)
		}
	}
	if h := c.HealthCheck; h != nil {
		switch {
		case len(h.Command) == 0 || !slices.Contains([]string{"NONE", "CMD", "CMD-SHELL"}, h.Command[0]):
			return "healthCheck: its command begins with none of CMD, CMD-SHELL, NONE"
		case h.Command[0] != "NONE" && len(h.Command) < 2:
			return "healthCheck: its command has no program"
		}
	}
	for _, check := range []func(*agent.TaskSpec, *agent.ContainerSpec) string{storageTrouble, networkTrouble, kernelTrouble} {
		if trouble := check(spec, c); trouble != "" {
			return trouble
		}
	}
	return ""
}

// ulimits are those that both ECS and the engine know.
var ulimits = []string{
	"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
}

func storageTrouble(spec *agent.TaskSpec, c *agent.ContainerSpec) string {
	whole := func(p string) bool { return path.IsAbs(p) && !strings.Contains(p, ":") }
	for _, m := range c.Options.Mounts {
		switch {
		case !slices.ContainsFunc(spec.Options.Volumes, func(v engineopts.Volume) bool { return v.Name == m.Volume }):
			return fmt.Sprintf("mountPoints: the task has no volume %q", m.Volume)
		case !whole(m.Path):
			return fmt.Sprintf("mountPoints: containerPath %q is not a whole path without a colon", m.Path)
		}
	}
	for _, v := range c.Options.VolumesFrom {
		if !other(spec, c, v.Container) {
			return fmt.Sprintf("volumesFrom: the task has no other container %q", v.Container)
		}
	}
	for p := range c.Options.Tmpfs {
		if !path.IsAbs(p) {
			return fmt.Sprintf("linuxParameters: tmpfs: containerPath %q is not a whole path", p)
		}
	}
	for _, d := range c.Options.Devices {
		if !path.IsAbs(d.Host) || d.Container != "" && !path.IsAbs(d.Container) {
			return fmt.Sprintf("linuxParameters: devices: %q or %q is not a whole path", d.Host, d.Container)
		}
	}
	return ""
}

// other says whether a name is that of another container of the task.
func other(spec *agent.TaskSpec, c *agent.ContainerSpec, name string) bool {
	return name != c.Name && slices.ContainsFunc(spec.Containers, func(o agent.ContainerSpec) bool { return o.Name == name })
}

func networkTrouble(spec *agent.TaskSpec, c *agent.ContainerSpec) string {
	o := &c.Options
	if spec.NetworkMode == agent.NetworkAWSVPC { // its containers share one network, and its /etc/hosts
		for _, f := range []struct {
			name  string
			given bool
		}{
			{"hostname", o.Hostname != ""}, {"dnsServers", len(o.DNS) > 0}, {"dnsSearchDomains", len(o.DNSSearch) > 0},
			{"extraHosts", len(o.ExtraHosts) > 0}, {"links", len(o.Links) > 0},
		} {
			if f.given {
				return f.name + ": the network mode awsvpc does not have it"
			}
		}
	}
	if len(o.Links) > 0 && spec.NetworkMode != "" && spec.NetworkMode != agent.NetworkBridge {
		return "links: only the network mode bridge has them"
	}
	for _, link := range o.Links {
		if name, _, _ := strings.Cut(link, ":"); !other(spec, c, name) {
			return fmt.Sprintf("links: the task has no other container %q", name)
		}
	}
	for _, server := range o.DNS {
		if _, err := netip.ParseAddr(server); err != nil {
			return fmt.Sprintf("dnsServers: %q is not an address", server)
		}
	}
	for _, h := range o.ExtraHosts {
		name, text, _ := strings.Cut(h, ":")
		if _, err := netip.ParseAddr(text); err != nil || name == "" {
			return fmt.Sprintf("extraHosts: %q is not a name with an address", h)
		}
	}
	return ""
}

func kernelTrouble(spec *agent.TaskSpec, c *agent.ContainerSpec) string {
	o := &c.Options
	for name := range o.Sysctls {
		switch {
		case spec.NetworkMode == agent.NetworkHost && strings.HasPrefix(name, "net."):
			return fmt.Sprintf("systemControls: %s is the machine's own in the network mode host", name)
		case spec.Options.IPC == "host" && (strings.HasPrefix(name, "kernel.") || strings.HasPrefix(name, "fs.mqueue.")):
			return fmt.Sprintf("systemControls: %s is the machine's own with ipcMode host", name)
		}
	}
	switch {
	case o.MaxSwapMiB != nil && c.Memory == 0 && spec.Options.Memory == 0:
		return "linuxParameters: maxSwap needs memory, of the container or the task"
	case o.MaxSwapMiB != nil && *o.MaxSwapMiB < 0:
		return "linuxParameters: maxSwap is below 0"
	case o.Swappiness != nil && (*o.Swappiness < 0 || *o.Swappiness > 100):
		return "linuxParameters: swappiness is not 0 to 100"
	}
	return ""
}

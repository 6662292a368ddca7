// Package translate converts a task to the terms of the Docker Engine API, and the state of a container to those of the
// agent. Its functions are pure.
package translate

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/speccheck"
	"github.com/bakingclouds/rollcall/internal/engineopts"
	"github.com/bakingclouds/rollcall/internal/fault"
)

// Validate returns a fault.Invalid error if a spec can never run here. The error names the member of the task definition.
// What depends on the machine (a volume driver, an image) is checked when it is created.
func Validate(spec *agent.TaskSpec) error {
	err := speccheck.Check(spec)
	if err == nil {
		err = checkTask(spec)
	}
	for i := range spec.Containers {
		if err == nil {
			if problem := containerTrouble(spec, &spec.Containers[i]); problem != "" {
				err = fmt.Errorf("container %q: %s", spec.Containers[i].Name, problem)
			}
		}
	}
	if err != nil {
		return fault.New(fault.Invalid, "task", "ResourceInitializationError: %v", err)
	}
	return nil
}

func checkTask(spec *agent.TaskSpec) error {
	switch {
	case spec.Resolver != nil && !spec.Resolver.Nameserver.IsValid():
		return errors.New("the task's resolver has no address")
	case !slices.Contains([]string{"", "host", engineopts.Shared}, spec.Options.PID):
		return fmt.Errorf("pidMode: %q is not one of host, task", spec.Options.PID)
	case !slices.Contains([]string{"", "host", "none", engineopts.Shared}, spec.Options.IPC):
		return fmt.Errorf("ipcMode: %q is not one of host, task, none", spec.Options.IPC)
	}
	for _, v := range spec.Options.Volumes {
		if v.HostPath != "" && !isMountable(v.HostPath) {
			return fmt.Errorf("volumes: %s: sourcePath %q must be an absolute path without a colon", v.Name, v.HostPath)
		}
	}
	return nil
}

// isMountable reports whether the engine's "source:target" form can express a path.
func isMountable(p string) bool { return path.IsAbs(p) && !strings.Contains(p, ":") }

func containerTrouble(spec *agent.TaskSpec, c *agent.ContainerSpec) string {
	if c.Image == "" {
		return "image: it has none"
	}
	if c.Options.DisableNetworking && len(c.Ports) > 0 {
		return "portMappings: a container with disableNetworking has no ports"
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
	for _, m := range c.Options.Mounts {
		switch {
		case !slices.ContainsFunc(spec.Options.Volumes, func(v engineopts.Volume) bool { return v.Name == m.Volume }):
			return fmt.Sprintf("mountPoints: the task has no volume %q", m.Volume)
		case !isMountable(m.Path):
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

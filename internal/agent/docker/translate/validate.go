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

// Validate returns a fault.Invalid error if no Docker Engine can run a spec. The error names the member of the task
// definition. What depends on the machine (a volume driver, an image) is checked when it is created.
func Validate(spec *agent.TaskSpec) error {
	err := speccheck.Check(spec)
	if err == nil {
		err = checkTask(spec)
	}
	for i := range spec.Containers {
		if err != nil {
			break
		}
		if err = checkContainer(spec, &spec.Containers[i]); err != nil {
			err = fmt.Errorf("container %q: %w", spec.Containers[i].Name, err)
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

// containerChecks check one container of a task.
var containerChecks = []func(*agent.TaskSpec, *agent.ContainerSpec) error{
	checkBasics, checkHealthCheck, checkStorage, checkNetworkMode, checkNames, checkKernel, checkSwap,
}

func checkContainer(spec *agent.TaskSpec, c *agent.ContainerSpec) error {
	for _, check := range containerChecks {
		if err := check(spec, c); err != nil {
			return err
		}
	}
	return nil
}

// ulimits are the resource limits that both ECS and the engine know.
var ulimits = []string{
	"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
	"rttime", "sigpending", "stack",
}

func checkBasics(_ *agent.TaskSpec, c *agent.ContainerSpec) error {
	if c.Image == "" {
		return errors.New("image: the container has none")
	}
	if c.Options.DisableNetworking && len(c.Ports) > 0 {
		return errors.New("portMappings: a container with disableNetworking cannot have ports")
	}
	for _, u := range c.Ulimits {
		if !slices.Contains(ulimits, u.Name) {
			return fmt.Errorf("ulimits: %q is not supported", u.Name)
		}
	}
	return nil
}

func checkHealthCheck(_ *agent.TaskSpec, c *agent.ContainerSpec) error {
	h := c.HealthCheck
	switch {
	case h == nil:
		return nil
	case len(h.Command) == 0: // to the engine it means the check of the image
		return errors.New("healthCheck: the command is empty")
	}
	_, err := h.Argv()
	return err
}

func checkStorage(spec *agent.TaskSpec, c *agent.ContainerSpec) error {
	for _, m := range c.Options.Mounts {
		hasName := func(v engineopts.Volume) bool { return v.Name == m.Volume }
		switch {
		case !slices.ContainsFunc(spec.Options.Volumes, hasName):
			return fmt.Errorf("mountPoints: the task has no volume %q", m.Volume)
		case !isMountable(m.Path):
			return fmt.Errorf("mountPoints: containerPath %q must be an absolute path without a colon", m.Path)
		}
	}
	for _, v := range c.Options.VolumesFrom {
		if !isSibling(spec, c, v.Container) {
			return fmt.Errorf("volumesFrom: the task has no other container %q", v.Container)
		}
	}
	for p := range c.Options.Tmpfs {
		if !path.IsAbs(p) {
			return fmt.Errorf("linuxParameters: tmpfs: containerPath %q must be an absolute path", p)
		}
	}
	for _, d := range c.Options.Devices {
		if !path.IsAbs(d.Host) || d.Container != "" && !path.IsAbs(d.Container) {
			return fmt.Errorf("linuxParameters: devices: %q and %q must be absolute paths", d.Host, d.Container)
		}
	}
	return nil
}

// isSibling reports whether the task has another container with the name.
func isSibling(spec *agent.TaskSpec, c *agent.ContainerSpec, name string) bool {
	hasName := func(o agent.ContainerSpec) bool { return o.Name == name }
	return name != c.Name && slices.ContainsFunc(spec.Containers, hasName)
}

// checkNetworkMode checks that the container sets nothing that its network mode does not have.
func checkNetworkMode(spec *agent.TaskSpec, c *agent.ContainerSpec) error {
	o := &c.Options
	if spec.NetworkMode == agent.NetworkAWSVPC { // the containers share one network, and one /etc/hosts
		for _, member := range []struct {
			name string
			set  bool
		}{
			{"hostname", o.Hostname != ""}, {"dnsServers", len(o.DNS) > 0}, {"dnsSearchDomains", len(o.DNSSearch) > 0},
			{"extraHosts", len(o.ExtraHosts) > 0}, {"links", len(o.Links) > 0},
		} {
			if member.set {
				return fmt.Errorf("%s: not supported in network mode awsvpc", member.name)
			}
		}
	}
	if len(o.Links) > 0 && spec.NetworkMode != "" && spec.NetworkMode != agent.NetworkBridge {
		return errors.New("links: supported in network mode bridge only")
	}
	return nil
}

// checkNames checks what a container adds to its name resolution.
func checkNames(spec *agent.TaskSpec, c *agent.ContainerSpec) error {
	for _, link := range c.Options.Links {
		if name, _, _ := strings.Cut(link, ":"); !isSibling(spec, c, name) {
			return fmt.Errorf("links: the task has no other container %q", name)
		}
	}
	for _, server := range c.Options.DNS {
		if _, err := netip.ParseAddr(server); err != nil {
			return fmt.Errorf("dnsServers: %q must be an IP address", server)
		}
	}
	for _, h := range c.Options.ExtraHosts {
		name, address, _ := strings.Cut(h, ":")
		if _, err := netip.ParseAddr(address); err != nil || name == "" {
			return fmt.Errorf("extraHosts: %q must be a name and an IP address", h)
		}
	}
	return nil
}

func checkKernel(spec *agent.TaskSpec, c *agent.ContainerSpec) error {
	for name := range c.Options.Sysctls {
		isIPC := strings.HasPrefix(name, "kernel.") || strings.HasPrefix(name, "fs.mqueue.")
		switch {
		case spec.NetworkMode == agent.NetworkHost && isNetwork(name):
			return fmt.Errorf("systemControls: %s would change the machine in network mode host", name)
		case spec.Options.IPC == "host" && isIPC:
			return fmt.Errorf("systemControls: %s would change the machine with ipcMode host", name)
		}
	}
	return nil
}

func checkSwap(spec *agent.TaskSpec, c *agent.ContainerSpec) error {
	o := &c.Options
	switch {
	case o.MaxSwapMiB != nil && c.Memory == 0 && spec.Options.Memory == 0:
		return errors.New("linuxParameters: maxSwap requires a memory limit of the container or the task")
	case o.MaxSwapMiB != nil && *o.MaxSwapMiB < 0:
		return errors.New("linuxParameters: maxSwap must not be negative")
	case o.Swappiness != nil && (*o.Swappiness < 0 || *o.Swappiness > 100):
		return errors.New("linuxParameters: swappiness must be between 0 and 100")
	}
	return nil
}

package translate

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/bakingclouds/rollcall/internal/agent/docker/role"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/engineopts"
)

// The engine's log where a definition does not say otherwise: what is shown of it lies in Rollcall's own files, so little
// is kept twice.
const (
	defaultLogDriver = "json-file"
	defaultLogSize   = "10m"
	defaultLogFiles  = "2"
)

const mib = 1 << 20

// ContainerOptions is a container of a definition in the engine's words: what the ECS API Reference ("ContainerDefinition")
// says of each member, where it names the option of docker run.
func ContainerOptions(spec *agent.TaskSpec, c *agent.ContainerSpec, at Placement) client.ContainerCreateOptions {
	o := c.Options
	config := &container.Config{
		Image: at.Image, Entrypoint: c.EntryPoint, Cmd: c.Command, Env: environment(spec.Env, c.Env, at.Env),
		User: c.User, WorkingDir: c.WorkingDirectory, Tty: o.TTY, OpenStdin: o.Interactive, NetworkDisabled: o.DisableNetworking,
		Labels: merge(o.Labels, spec.Labels, map[string]string{"com.amazonaws.ecs.container-name": c.Name}, at.Labels),
		// Only the checks of the definition count, never those of the image (ECS Developer Guide, "Container health checks").
		Healthcheck: healthConfig(c.HealthCheck),
	}
	host := &container.HostConfig{
		Resources: resources(spec, c, at), LogConfig: logConfig(c), Mounts: resolverMount(at), Binds: binds(c, at),
		ReadonlyRootfs: o.ReadonlyRoot, Privileged: o.Privileged, SecurityOpt: o.SecurityOpt, CapAdd: o.CapAdd, CapDrop: o.CapDrop,
		Tmpfs: o.Tmpfs, ShmSize: int64(o.ShmMiB) * mib, PidMode: container.PidMode(namespace(spec.Options.PID, at)),
		IpcMode: container.IpcMode(namespace(spec.Options.IPC, at)),
	}
	if o.Init {
		host.Init = &o.Init
	}
	for _, v := range o.VolumesFrom {
		from := at.Siblings[v.Container]
		if v.ReadOnly {
			from += ":ro"
		}
		host.VolumesFrom = append(host.VolumesFrom, from)
	}
	all := client.ContainerCreateOptions{Name: at.Name, Config: config, HostConfig: host}
	if o.DisableNetworking {
		host.NetworkMode, host.Mounts, host.Sysctls = network.NetworkNone, nil, o.Sysctls
		return all
	}
	connect(&all, spec, at)
	if at.Share == "" {
		host.Sysctls = o.Sysctls
		config.Hostname = o.Hostname
		host.ExtraHosts = append(host.ExtraHosts, o.ExtraHosts...)
		for _, link := range o.Links {
			host.ExtraHosts = append(host.ExtraHosts, linked(link, at)...)
		}
	} else {
		host.Sysctls = withoutNetwork(o.Sysctls) // the network is the pause container's
	}
	if len(o.DNS)+len(o.DNSSearch) == 0 {
		return all
	}
	// The definition's own resolver, in place of ours.
	host.Mounts = slices.DeleteFunc(host.Mounts, func(m mount.Mount) bool { return m.Target == resolvConf })
	host.DNSSearch = o.DNSSearch
	for _, server := range o.DNS {
		if a, err := netip.ParseAddr(server); err == nil { // Validate has been here
			host.DNS = append(host.DNS, a)
		}
	}
	if len(host.DNS) == 0 && spec.Resolver != nil {
		host.DNS = []netip.Addr{spec.Resolver.Nameserver}
	}
	return all
}

// PauseOptions is the container that holds a task's network: it does nothing else, so nothing in it is the task's.
func PauseOptions(spec *agent.TaskSpec, at Placement) client.ContainerCreateOptions {
	all := client.ContainerCreateOptions{
		Name: at.Name,
		Config: &container.Config{
			Image: at.Image, Cmd: []string{"rollcall", role.Pause}, Labels: merge(spec.Labels, at.Labels),
			Healthcheck: healthConfig(nil),
		},
		HostConfig: &container.HostConfig{
			LogConfig: container.LogConfig{Type: "none"}, ReadonlyRootfs: true, CapDrop: []string{"ALL"}, Mounts: resolverMount(at),
		},
	}
	if spec.Options.IPC == engineopts.Shared {
		all.HostConfig.IpcMode = container.IPCModeShareable
		for _, c := range spec.Containers { // what they share has one size
			all.HostConfig.ShmSize = max(all.HostConfig.ShmSize, int64(c.Options.ShmMiB)*mib)
		}
	}
	sysctls := map[string]string{}
	for _, c := range spec.Containers {
		for name, value := range c.Options.Sysctls {
			if isNetwork(name) {
				sysctls[name] = value
			}
		}
	}
	if at.Network != agent.NetworkNone {
		all.HostConfig.Sysctls = sysctls
	}
	connect(&all, spec, at)
	return all
}

// connect puts a container on its network.
func connect(all *client.ContainerCreateOptions, spec *agent.TaskSpec, at Placement) {
	if at.Share != "" {
		all.HostConfig.NetworkMode = container.NetworkMode("container:" + at.Share)
		return
	}
	all.HostConfig.NetworkMode = container.NetworkMode(at.Network)
	for _, name := range slices.Sorted(maps.Keys(spec.Hosts)) {
		all.HostConfig.ExtraHosts = append(all.HostConfig.ExtraHosts, name+":"+spec.Hosts[name].String())
	}
	if !at.Address.IsValid() {
		return
	}
	all.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
		at.Network: {IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: at.Address, IPv6Address: at.Address6}},
	}}
	for _, p := range at.Ports {
		if all.HostConfig.PortBindings == nil {
			all.HostConfig.PortBindings, all.Config.ExposedPorts = network.PortMap{}, network.PortSet{}
		}
		port := network.MustParsePort(fmt.Sprintf("%d/%s", p.Container, p.Protocol)) // Validate has been here
		all.Config.ExposedPorts[port] = struct{}{}
		all.HostConfig.PortBindings[port] = append(all.HostConfig.PortBindings[port],
			network.PortBinding{HostIP: netip.IPv4Unspecified(), HostPort: strconv.Itoa(int(p.Host))})
	}
}

// linked is what /etc/hosts says of another container of the task, "container" or "container:alias". The engine's own links
// work by its DNS server, which containers with our resolver do not ask.
func linked(link string, at Placement) []string {
	to, alias, _ := strings.Cut(link, ":")
	var hosts []string
	for _, a := range at.Addresses[to] {
		if alias != "" && alias != to {
			hosts = append(hosts, alias+":"+a.String())
		}
		hosts = append(hosts, to+":"+a.String())
	}
	return hosts
}

// environment is what a container finds, later layers winning over earlier ones, in the order of the names.
func environment(layers ...map[string]string) []string {
	merged := merge(layers...)
	var env []string
	for _, name := range slices.Sorted(maps.Keys(merged)) {
		env = append(env, name+"="+merged[name])
	}
	return env
}

// merge lays maps over each other, later layers winning.
func merge(layers ...map[string]string) map[string]string {
	merged := map[string]string{}
	for _, layer := range layers {
		maps.Copy(merged, layer)
	}
	return merged
}

func healthConfig(h *agent.HealthCheck) *container.HealthConfig {
	if h == nil {
		return &container.HealthConfig{Test: []string{"NONE"}}
	}
	return &container.HealthConfig{Test: h.Command, Interval: h.Interval, Timeout: h.Timeout, Retries: h.Retries, StartPeriod: h.StartPeriod}
}

// resources bounds a container: by its own members, else by the task's. What a task states for all of its containers bounds
// each of them, and not their sum.
func resources(spec *agent.TaskSpec, c *agent.ContainerSpec, at Placement) container.Resources {
	o, task := c.Options, spec.Options
	r := container.Resources{
		CPUShares: cpuShares(spec, c),
		Memory:    int64(c.Memory) * mib, MemoryReservation: int64(c.Reservation) * mib,
	}
	if c.Memory == 0 && task.Memory > 0 {
		r.Memory = int64(task.Memory) * mib
	}
	if task.CPU > 0 && task.CPU < at.CPUs*1024 { // more than there is would be refused
		r.NanoCPUs = int64(task.CPU) * 1e9 / 1024
	}
	if r.Memory > 0 { // the engine refuses a reservation beyond the bound
		r.MemoryReservation = min(r.MemoryReservation, r.Memory)
	}
	if o.MaxSwapMiB != nil && r.Memory > 0 {
		r.MemorySwap = r.Memory + int64(*o.MaxSwapMiB)*mib
		if o.Swappiness != nil { // "If a value is not specified for maxSwap then this parameter is ignored"
			swappiness := int64(*o.Swappiness)
			r.MemorySwappiness = &swappiness
		}
	}
	for _, u := range c.Ulimits {
		r.Ulimits = append(r.Ulimits, &container.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	for _, d := range o.Devices {
		m := container.DeviceMapping{PathOnHost: d.Host, PathInContainer: d.Container, CgroupPermissions: d.Permissions}
		if m.PathInContainer == "" {
			m.PathInContainer = d.Host
		}
		if m.CgroupPermissions == "" {
			m.CgroupPermissions = "rwm"
		}
		r.Devices = append(r.Devices, m)
	}
	return r
}

// cpuShares are a container's own, or its part of what the task has left: at ECS a task's containers compete with each other
// within the task's share, so that one which states nothing is not the last on the machine. Linux takes from 2 to 262144.
func cpuShares(spec *agent.TaskSpec, c *agent.ContainerSpec) int64 {
	cpu := c.CPU
	if cpu == 0 && spec.Options.CPU > 0 {
		left, others := spec.Options.CPU, 0
		for _, each := range spec.Containers {
			left -= each.CPU
			if each.CPU == 0 {
				others++
			}
		}
		cpu = left / max(1, others)
	}
	return int64(min(max(cpu, 2), 262144))
}

// logConfig bounds the files that the engine writes by itself, unless the definition does.
func logConfig(c *agent.ContainerSpec) container.LogConfig {
	driver, options := cmp.Or(c.Options.LogDriver, defaultLogDriver), c.Options.LogOptions
	if _, bounded := options["max-size"]; driver == defaultLogDriver && !bounded {
		options = merge(map[string]string{"max-size": defaultLogSize, "max-file": defaultLogFiles}, options)
	}
	return container.LogConfig{Type: driver, Config: options}
}

const resolvConf = "/etc/resolv.conf"

// binds are in the engine's old form, in which it makes a folder of the host that is not there; of mounts it does that from
// API 1.42 on.
func binds(c *agent.ContainerSpec, at Placement) []string {
	var all []string
	for _, m := range c.Options.Mounts {
		bind := at.Volumes[m.Volume] + ":" + m.Path
		if m.ReadOnly {
			bind += ":ro"
		}
		all = append(all, bind)
	}
	return all
}

func resolverMount(at Placement) []mount.Mount {
	if at.ResolvConf == "" {
		return nil
	}
	return []mount.Mount{{Type: mount.TypeBind, Source: at.ResolvConf, Target: resolvConf, ReadOnly: true}}
}

// namespace is the mode of the pid or IPC namespace.
func namespace(mode string, at Placement) string {
	if mode != engineopts.Shared {
		return mode
	}
	if at.Pause == "" {
		return "" // the one container's own
	}
	return "container:" + at.Pause
}

func isNetwork(sysctl string) bool { return strings.HasPrefix(sysctl, "net.") }

func withoutNetwork(sysctls map[string]string) map[string]string {
	var rest map[string]string
	for name, value := range sysctls {
		if isNetwork(name) {
			continue
		}
		if rest == nil {
			rest = map[string]string{}
		}
		rest[name] = value
	}
	return rest
}

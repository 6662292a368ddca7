package translate

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker/role"
	"github.com/bakingclouds/rollcall/internal/engineopts"
)

// The engine's log if a definition does not configure it. Rollcall copies it to its own files, so it can be short.
const (
	defaultLogDriver = "json-file"
	defaultLogSize   = "10m"
	defaultLogFiles  = "2"
)

const resolvConf = "/etc/resolv.conf"

// ContainerOptions returns the options of a container. The ECS API Reference ("ContainerDefinition") names the option
// of docker run for each member of a definition.
func ContainerOptions(spec *agent.TaskSpec, c *agent.ContainerSpec, at Assignment) client.ContainerCreateOptions {
	o := c.Options
	config := &container.Config{
		Image: at.Image, Entrypoint: c.EntryPoint, Cmd: c.Command, Env: environment(spec.Env, c.Env, at.Env),
		User: c.User, WorkingDir: c.WorkingDirectory, Tty: o.TTY, OpenStdin: o.Interactive,
		NetworkDisabled: o.DisableNetworking,
		Labels: merge(o.Labels, spec.Labels, map[string]string{"com.amazonaws.ecs.container-name": c.Name},
			at.Labels),
		// ECS ignores the image's own health check (ECS Developer Guide, "Container health checks").
		Healthcheck: healthConfig(c.HealthCheck),
	}
	host := &container.HostConfig{
		Resources: resources(spec, c, at), LogConfig: logConfig(c), Mounts: resolverMount(at), Binds: binds(c, at),
		ReadonlyRootfs: o.ReadonlyRoot, Privileged: o.Privileged,
		SecurityOpt: o.SecurityOpt, CapAdd: o.CapAdd, CapDrop: o.CapDrop,
		Tmpfs: o.Tmpfs, ShmSize: int64(o.ShmMiB) * mib,
		PidMode: container.PidMode(namespace(spec.Options.PID, at)),
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
			host.ExtraHosts = append(host.ExtraHosts, linkHosts(link, at)...)
		}
	} else {
		host.Sysctls = withoutNetwork(o.Sysctls) // the network belongs to the pause container
	}
	useOwnResolver(host, spec, &o)
	return all
}

// useOwnResolver replaces Rollcall's resolver with the one of the definition, if it has one.
func useOwnResolver(host *container.HostConfig, spec *agent.TaskSpec, o *engineopts.Container) {
	if len(o.DNS)+len(o.DNSSearch) == 0 {
		return
	}
	host.Mounts = slices.DeleteFunc(host.Mounts, func(m mount.Mount) bool { return m.Target == resolvConf })
	host.DNSSearch = o.DNSSearch
	for _, server := range o.DNS {
		if a, err := netip.ParseAddr(server); err == nil { // Validate has rejected others
			host.DNS = append(host.DNS, a)
		}
	}
	if len(host.DNS) == 0 && spec.Resolver != nil {
		host.DNS = []netip.Addr{spec.Resolver.Nameserver}
	}
}

// PauseOptions returns the options of a task's pause container.
func PauseOptions(spec *agent.TaskSpec, at Assignment) client.ContainerCreateOptions {
	all := client.ContainerCreateOptions{
		Name: at.Name,
		Config: &container.Config{
			Image: at.Image, Cmd: []string{"rollcall", role.Pause}, Labels: merge(spec.Labels, at.Labels),
			Healthcheck: healthConfig(nil),
		},
		HostConfig: &container.HostConfig{
			LogConfig: container.LogConfig{Type: "none"}, ReadonlyRootfs: true, CapDrop: []string{"ALL"},
			Mounts: resolverMount(at),
		},
	}
	if spec.Options.IPC == engineopts.Shared {
		all.HostConfig.IpcMode = container.IPCModeShareable
		for _, c := range spec.Containers { // they share one /dev/shm
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

// connect adds the options of a container's network.
func connect(all *client.ContainerCreateOptions, spec *agent.TaskSpec, at Assignment) {
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
		port := network.MustParsePort(fmt.Sprintf("%d/%s", p.Container, p.Protocol)) // Validate has rejected others
		all.Config.ExposedPorts[port] = struct{}{}
		all.HostConfig.PortBindings[port] = append(all.HostConfig.PortBindings[port],
			network.PortBinding{HostIP: netip.IPv4Unspecified(), HostPort: strconv.Itoa(int(p.Host))})
	}
}

// linkHosts returns the entries of /etc/hosts for a link to another container of the task, "container" or
// "container:alias". The engine implements links with its own DNS server, which containers with Rollcall's resolver do
// not use.
func linkHosts(link string, at Assignment) []string {
	name, alias, _ := strings.Cut(link, ":")
	var hosts []string
	for _, a := range at.Addresses[name] {
		if alias != "" && alias != name {
			hosts = append(hosts, alias+":"+a.String())
		}
		hosts = append(hosts, name+":"+a.String())
	}
	return hosts
}

// environment merges the environments of a container, as sorted "name=value" strings. Later layers override earlier
// ones.
func environment(layers ...map[string]string) []string {
	merged := merge(layers...)
	var env []string
	for _, name := range slices.Sorted(maps.Keys(merged)) {
		env = append(env, name+"="+merged[name])
	}
	return env
}

// merge merges maps into a new one. Later maps override earlier ones.
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
	return &container.HealthConfig{
		Test: h.Command, Interval: h.Interval, Timeout: h.Timeout, Retries: h.Retries, StartPeriod: h.StartPeriod,
	}
}

// logConfig limits the engine's own log files, unless the definition does.
func logConfig(c *agent.ContainerSpec) container.LogConfig {
	driver, options := cmp.Or(c.Options.LogDriver, defaultLogDriver), c.Options.LogOptions
	if _, limited := options["max-size"]; driver == defaultLogDriver && !limited {
		options = merge(map[string]string{"max-size": defaultLogSize, "max-file": defaultLogFiles}, options)
	}
	return container.LogConfig{Type: driver, Config: options}
}

// binds returns the volumes of a container in the engine's old form. With it, the engine creates a folder of the host
// that does not exist; for mounts, it does so only since API version 1.42.
func binds(c *agent.ContainerSpec, at Assignment) []string {
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

func resolverMount(at Assignment) []mount.Mount {
	if at.ResolvConf == "" {
		return nil
	}
	return []mount.Mount{{Type: mount.TypeBind, Source: at.ResolvConf, Target: resolvConf, ReadOnly: true}}
}

// namespace returns the engine's mode for a pid or IPC namespace.
func namespace(mode string, at Assignment) string {
	if mode != engineopts.Shared {
		return mode
	}
	if at.Pause == "" {
		return "" // the task has only one container
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

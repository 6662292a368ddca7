package taskdef

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/engineopts"
	"github.com/bakingclouds/rollcall/internal/task"
)

// defaultRestartPeriod is how long a container has to run before its restart policy restarts it, in seconds.
const defaultRestartPeriod = 300

// taskOptions is what a definition asks of a container engine for the whole task.
func taskOptions(in *Request) engineopts.Task {
	options := engineopts.Task{PID: string(in.PidMode), IPC: string(in.IpcMode)}
	for _, v := range in.Volumes {
		volume := engineopts.Volume{Name: aws.ToString(v.Name)}
		if v.Host != nil {
			volume.HostPath = aws.ToString(v.Host.SourcePath)
		}
		if d := v.DockerVolumeConfiguration; d != nil {
			volume.Shared, volume.Create = d.Scope == types.ScopeShared, aws.ToBool(d.Autoprovision)
			volume.Driver, volume.DriverOpts, volume.Labels = aws.ToString(d.Driver), d.DriverOpts, d.Labels
		}
		options.Volumes = append(options.Volumes, volume)
	}
	return options
}

// containerOptions is what a definition asks of a container engine for one container.
func containerOptions(c types.ContainerDefinition) engineopts.Container {
	options := engineopts.Container{
		ReadonlyRoot:      aws.ToBool(c.ReadonlyRootFilesystem),
		Privileged:        aws.ToBool(c.Privileged),
		DisableNetworking: aws.ToBool(c.DisableNetworking),
		Interactive:       aws.ToBool(c.Interactive),
		TTY:               aws.ToBool(c.PseudoTerminal),
		Hostname:          aws.ToString(c.Hostname),
		DNS:               c.DnsServers,
		DNSSearch:         c.DnsSearchDomains,
		Links:             c.Links,
		Labels:            c.DockerLabels,
		SecurityOpt:       c.DockerSecurityOptions,
		StartTimeout:      seconds(c.StartTimeout, 0),
		Restart:           restartPolicy(c.RestartPolicy),
	}
	for _, m := range c.MountPoints {
		options.Mounts = append(options.Mounts, engineopts.Mount{
			Volume: aws.ToString(m.SourceVolume), Path: aws.ToString(m.ContainerPath), ReadOnly: aws.ToBool(m.ReadOnly),
		})
	}
	for _, v := range c.VolumesFrom {
		options.VolumesFrom = append(options.VolumesFrom, engineopts.VolumesFrom{Container: aws.ToString(v.SourceContainer), ReadOnly: aws.ToBool(v.ReadOnly)})
	}
	for _, h := range c.ExtraHosts {
		options.ExtraHosts = append(options.ExtraHosts, aws.ToString(h.Hostname)+":"+aws.ToString(h.IpAddress))
	}
	for _, s := range c.SystemControls {
		options.Sysctls = put(options.Sysctls, aws.ToString(s.Namespace), aws.ToString(s.Value))
	}
	if r := c.RepositoryCredentials; r != nil {
		options.Login = aws.ToString(r.CredentialsParameter)
	}
	logOptions(&options, c.LogConfiguration)
	linuxOptions(&options, c.LinuxParameters)
	return options
}

func put(m map[string]string, name, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[name] = value
	return m
}

// logOptions has no awslogs: that is what Rollcall itself does with the output.
func logOptions(options *engineopts.Container, l *types.LogConfiguration) {
	if l == nil || l.LogDriver == types.LogDriverAwslogs {
		return
	}
	options.LogDriver, options.LogOptions = string(l.LogDriver), l.Options
	for _, s := range l.SecretOptions {
		options.LogSecrets = put(options.LogSecrets, aws.ToString(s.Name), aws.ToString(s.ValueFrom))
	}
}

func linuxOptions(options *engineopts.Container, l *types.LinuxParameters) {
	if l == nil {
		return
	}
	if l.Capabilities != nil {
		options.CapAdd, options.CapDrop = l.Capabilities.Add, l.Capabilities.Drop
	}
	for _, d := range l.Devices {
		letters := ""
		for _, p := range d.Permissions {
			letters += map[types.DeviceCgroupPermission]string{
				types.DeviceCgroupPermissionRead: "r", types.DeviceCgroupPermissionWrite: "w", types.DeviceCgroupPermissionMknod: "m",
			}[p]
		}
		options.Devices = append(options.Devices, engineopts.Device{Host: aws.ToString(d.HostPath), Container: aws.ToString(d.ContainerPath), Permissions: letters})
	}
	for _, t := range l.Tmpfs {
		options.Tmpfs = put(options.Tmpfs, aws.ToString(t.ContainerPath), strings.Join(append([]string{fmt.Sprintf("size=%dm", t.Size)}, t.MountOptions...), ","))
	}
	options.Init = aws.ToBool(l.InitProcessEnabled)
	options.ShmMiB = int(aws.ToInt32(l.SharedMemorySize))
	options.MaxSwapMiB, options.Swappiness = whole(l.MaxSwap), whole(l.Swappiness)
}

func whole(n *int32) *int {
	if n == nil {
		return nil
	}
	return aws.Int(int(*n))
}

func restartPolicy(p *types.ContainerRestartPolicy) *engineopts.RestartPolicy {
	if p == nil || !aws.ToBool(p.Enabled) {
		return nil
	}
	policy := &engineopts.RestartPolicy{Period: seconds(p.RestartAttemptPeriod, defaultRestartPeriod)}
	for _, code := range p.IgnoredExitCodes {
		policy.Ignored = append(policy.Ignored, int(code))
	}
	return policy
}

func ulimits(all []types.Ulimit) []task.Ulimit {
	var limits []task.Ulimit
	for _, u := range all {
		limits = append(limits, task.Ulimit{Name: string(u.Name), Soft: int64(u.SoftLimit), Hard: int64(u.HardLimit)})
	}
	return limits
}

// dependencies are those that a container states, and those that it has by its links and by volumesFrom: an engine makes a
// container only when the others are there.
func dependencies(c types.ContainerDefinition) []task.Dependency {
	var ds []task.Dependency
	for _, d := range c.DependsOn {
		ds = append(ds, task.Dependency{Container: aws.ToString(d.ContainerName), Condition: string(d.Condition)})
	}
	for _, name := range uses(c) {
		if !slices.ContainsFunc(ds, func(d task.Dependency) bool { return d.Container == name }) {
			ds = append(ds, task.Dependency{Container: name, Condition: string(types.ContainerConditionStart)})
		}
	}
	return ds
}

// uses names the containers that a container links to, or has its volumes from.
func uses(c types.ContainerDefinition) []string {
	var names []string
	for _, link := range c.Links {
		name, _, _ := strings.Cut(link, ":")
		names = append(names, name)
	}
	for _, v := range c.VolumesFrom {
		names = append(names, aws.ToString(v.SourceContainer))
	}
	return names
}

// portMappings are single ports: those of a range one by one, but in awsvpc mode, where nothing is mapped.
func portMappings(mode types.NetworkMode, mappings []types.PortMapping) []task.PortMapping {
	var ports []task.PortMapping
	for _, p := range mappings {
		from, to, ranged := portRange(aws.ToString(p.ContainerPortRange))
		if p.ContainerPort != nil {
			from, to = int(*p.ContainerPort), int(*p.ContainerPort)
		} else if !ranged || mode == types.NetworkModeAwsvpc {
			continue
		}
		for n := from; n <= to; n++ {
			single := p
			single.ContainerPort = aws.Int32(int32(n))
			ports = append(ports, task.PortMapping{
				Name:          aws.ToString(p.Name),
				ContainerPort: n,
				HostPort:      int(*hostPort(mode, single)),
				Protocol:      string(cmp.Or(p.Protocol, types.TransportProtocolTcp)),
			})
		}
	}
	return ports
}

// hostPort is the host's port of a mapping: as given, else the container's own where the task has an address
// or the host's, and 0 (chosen at each start) in bridge mode.
func hostPort(mode types.NetworkMode, p types.PortMapping) *int32 {
	if mode != types.NetworkModeBridge && aws.ToInt32(p.HostPort) == 0 {
		return p.ContainerPort
	}
	return aws.Int32(aws.ToInt32(p.HostPort))
}

func seconds(n *int32, otherwise int32) time.Duration {
	if n != nil {
		otherwise = *n
	}
	return time.Duration(otherwise) * time.Second
}

package taskdef

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/engineopts"
)

// defaultRestartPeriod is the time that a container has to run before its restart policy restarts it, in seconds.
const defaultRestartPeriod = 300

// taskOptions returns the settings of a definition that apply to the whole task and that only container engines use.
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

// containerOptions returns the settings of a container that only container engines use.
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
		options.VolumesFrom = append(options.VolumesFrom, engineopts.VolumesFrom{
			Container: aws.ToString(v.SourceContainer), ReadOnly: aws.ToBool(v.ReadOnly),
		})
	}
	for _, h := range c.ExtraHosts {
		options.ExtraHosts = append(options.ExtraHosts, aws.ToString(h.Hostname)+":"+aws.ToString(h.IpAddress))
	}
	for _, s := range c.SystemControls {
		options.Sysctls = set(options.Sysctls, aws.ToString(s.Namespace), aws.ToString(s.Value))
	}
	if credentials := c.RepositoryCredentials; credentials != nil {
		options.Login = aws.ToString(credentials.CredentialsParameter)
	}
	setLogOptions(&options, c.LogConfiguration)
	setLinuxOptions(&options, c.LinuxParameters)
	return options
}

// setLogOptions sets nothing for awslogs, because Rollcall itself keeps the output of such containers.
func setLogOptions(options *engineopts.Container, l *types.LogConfiguration) {
	if l == nil || l.LogDriver == types.LogDriverAwslogs {
		return
	}
	options.LogDriver, options.LogOptions = string(l.LogDriver), l.Options
	for _, s := range l.SecretOptions {
		options.LogSecrets = set(options.LogSecrets, aws.ToString(s.Name), aws.ToString(s.ValueFrom))
	}
}

// devicePermissions maps the permissions of devices to the letters of container engines.
var devicePermissions = map[types.DeviceCgroupPermission]string{
	types.DeviceCgroupPermissionRead: "r", types.DeviceCgroupPermissionWrite: "w", types.DeviceCgroupPermissionMknod: "m",
}

func setLinuxOptions(options *engineopts.Container, l *types.LinuxParameters) {
	if l == nil {
		return
	}
	if l.Capabilities != nil {
		options.CapAdd, options.CapDrop = l.Capabilities.Add, l.Capabilities.Drop
	}
	for _, d := range l.Devices {
		permissions := ""
		for _, p := range d.Permissions {
			permissions += devicePermissions[p]
		}
		options.Devices = append(options.Devices, engineopts.Device{
			Host: aws.ToString(d.HostPath), Container: aws.ToString(d.ContainerPath), Permissions: permissions,
		})
	}
	for _, t := range l.Tmpfs {
		mountOptions := append([]string{fmt.Sprintf("size=%dm", t.Size)}, t.MountOptions...)
		options.Tmpfs = set(options.Tmpfs, aws.ToString(t.ContainerPath), strings.Join(mountOptions, ","))
	}
	options.Init = aws.ToBool(l.InitProcessEnabled)
	options.ShmMiB = int(aws.ToInt32(l.SharedMemorySize))
	options.MaxSwapMiB, options.Swappiness = intOrNil(l.MaxSwap), intOrNil(l.Swappiness)
}

func intOrNil(n *int32) *int {
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

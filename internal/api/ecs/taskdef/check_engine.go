package taskdef

import (
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
)

// checkRuntimes refuses what no runtime here has: a task without it would not be the one that was asked for. What one
// runtime has and another has not is no matter of registration (docs/compat/ecs.md).
func checkRuntimes(in *Request) error {
	if p := in.RuntimePlatform; p != nil {
		if err := ecserr.First(
			optional("cpuArchitecture", p.CpuArchitecture, p.CpuArchitecture.Values()),
			optional("operatingSystemFamily", p.OperatingSystemFamily, p.OperatingSystemFamily.Values()),
		); err != nil {
			return err
		}
		if f := p.OperatingSystemFamily; f != "" && f != types.OSFamilyLinux {
			return ecserr.Client("Unsupported value '%s' of 'operatingSystemFamily': tasks run on Linux here", f)
		}
	}
	for _, c := range in.ContainerDefinitions {
		name := aws.ToString(c.Name)
		switch {
		case len(c.ResourceRequirements) > 0:
			return ecserr.Client("Unsupported field 'resourceRequirements' of container '%s': there are no GPUs to give to tasks here", name)
		case c.FirelensConfiguration != nil:
			return ecserr.Client("Unsupported field 'firelensConfiguration' of container '%s': no log router is set up here", name)
		case c.LogConfiguration != nil && c.LogConfiguration.LogDriver == types.LogDriverAwsfirelens:
			return ecserr.Client("Unsupported value 'awsfirelens' of 'logDriver' of container '%s': no log router is set up here", name)
		case len(c.CredentialSpecs) > 0:
			return ecserr.Client("Unsupported field 'credentialSpecs' of container '%s': there is no Active Directory here", name)
		}
	}
	return nil
}

func optional[E ~string](what string, v E, values []E) error {
	if v == "" {
		return nil
	}
	return ecserr.OneOf(what, v, values)
}

// settingError is a container's setting that cannot be.
func settingError(container, format string, args ...any) error {
	return ecserr.Client("Invalid setting for container '"+container+"'. "+format, args...)
}

// checkContainerSettings looks at what a container asks of an engine.
func checkContainerSettings(in *Request) error {
	for _, c := range in.ContainerDefinitions {
		name := aws.ToString(c.Name) // checkContainers has been here: no % in it
		image, _, _ := strings.Cut(aws.ToString(c.Image), "@")
		switch {
		case len(image) > 255:
			return settingError(name, "'image' must be at most 255 characters.")
		case c.Cpu < 0:
			return settingError(name, "'cpu' must be at least 0.")
		case c.RepositoryCredentials != nil && aws.ToString(c.RepositoryCredentials.CredentialsParameter) == "":
			return settingError(name, "'repositoryCredentials' must have a 'credentialsParameter'.")
		case c.RestartPolicy != nil && len(c.RestartPolicy.IgnoredExitCodes) > 50:
			return settingError(name, "'ignoredExitCodes' must have at most 50 exit codes.")
		case c.LogConfiguration != nil && slices.ContainsFunc(c.LogConfiguration.SecretOptions, func(s types.Secret) bool {
			return aws.ToString(s.Name) == "" || aws.ToString(s.ValueFrom) == ""
		}):
			return settingError(name, "A secret option must have a name and a valueFrom.")
		}
		for _, u := range c.Ulimits {
			if err := ecserr.OneOf("ulimit name", u.Name, u.Name.Values()); err != nil {
				return err
			}
		}
		if err := ecserr.First(checkMounts(name, c), checkLinux(name, c.LinuxParameters), checkNames(name, c), checkSystemControls(in, name, c)); err != nil {
			return err
		}
	}
	return nil
}

// absolute says whether an engine takes a path, which it writes as SOURCE:PATH:OPTIONS.
func absolute(p *string) bool {
	return path.IsAbs(aws.ToString(p)) && !strings.Contains(*p, ":")
}

func checkMounts(name string, c types.ContainerDefinition) error {
	at := map[string]bool{}
	for _, m := range c.MountPoints {
		switch p := path.Clean(aws.ToString(m.ContainerPath)); {
		case !absolute(m.ContainerPath):
			return settingError(name, "'containerPath' of a mount point must be an absolute path without a colon.")
		case at[p]:
			return settingError(name, "'containerPath' %s is used by two mount points.", p)
		default:
			at[p] = true
		}
	}
	return nil
}

func checkLinux(name string, l *types.LinuxParameters) error {
	if l == nil {
		return nil
	}
	for _, d := range l.Devices {
		if !path.IsAbs(aws.ToString(d.HostPath)) || d.ContainerPath != nil && !path.IsAbs(*d.ContainerPath) {
			return settingError(name, "'hostPath' and 'containerPath' of a device must be absolute paths.")
		}
		for _, p := range d.Permissions {
			if err := ecserr.OneOf("device permission", p, p.Values()); err != nil {
				return err
			}
		}
	}
	for _, t := range l.Tmpfs {
		switch {
		case !path.IsAbs(aws.ToString(t.ContainerPath)):
			return settingError(name, "'containerPath' of a tmpfs must be an absolute path.")
		case t.Size < 1:
			return settingError(name, "'size' of a tmpfs must be at least 1.")
		}
	}
	switch {
	case l.SharedMemorySize != nil && *l.SharedMemorySize < 0:
		return settingError(name, "'sharedMemorySize' must be at least 0.")
	case l.MaxSwap != nil && *l.MaxSwap < 0:
		return settingError(name, "'maxSwap' must be at least 0.")
	case l.Swappiness != nil && (*l.Swappiness < 0 || *l.Swappiness > 100):
		return settingError(name, "'swappiness' must be between 0 and 100.")
	}
	return nil
}

// checkNames looks at how a container finds others.
func checkNames(name string, c types.ContainerDefinition) error {
	for _, server := range c.DnsServers {
		if _, err := netip.ParseAddr(server); err != nil {
			return settingError(name, "'dnsServers' must be IP addresses; %q is not.", server)
		}
	}
	for _, h := range c.ExtraHosts {
		if _, err := netip.ParseAddr(aws.ToString(h.IpAddress)); err != nil || aws.ToString(h.Hostname) == "" || strings.ContainsAny(*h.Hostname, ": \t\n") {
			return settingError(name, "'extraHosts' must have a hostname and an IP address.")
		}
	}
	return nil
}

// checkSystemControls: with a namespace of the machine its settings are the machine's ("SystemControl").
func checkSystemControls(in *Request, name string, c types.ContainerDefinition) error {
	for _, s := range c.SystemControls {
		key := aws.ToString(s.Namespace)
		ipc := strings.HasPrefix(key, "kernel.") || strings.HasPrefix(key, "fs.mqueue.")
		switch {
		case key == "" || s.Value == nil:
			return settingError(name, "A system control must have a namespace and a value.")
		case strings.HasPrefix(key, "net.") && NetworkMode(in) == types.NetworkModeHost:
			return settingError(name, "The system control %s is not supported when networkMode=host.", key)
		case ipc && in.IpcMode == types.IpcModeHost:
			return settingError(name, "The system control %s is not supported when ipcMode=host.", key)
		}
	}
	return nil
}

// checkLinks holds links against the containers that there are. An engine makes a container after those that it links to, or
// has volumes from, so there is an order only without cycles, dependsOn included.
func checkLinks(in *Request) error {
	waits := map[string][]string{}
	for _, c := range in.ContainerDefinitions {
		waits[aws.ToString(c.Name)] = nil
	}
	for _, c := range in.ContainerDefinitions {
		name := aws.ToString(c.Name)
		for _, link := range c.Links {
			to, alias, aliased := strings.Cut(link, ":")
			if _, ok := waits[to]; !ok {
				return ecserr.Client("Invalid 'links' setting. Unknown container: '%s'", to)
			}
			if aliased && !identifier.ValidName(alias) {
				return ecserr.Client("Invalid 'links' setting. %q is neither CONTAINER nor CONTAINER:ALIAS", link)
			}
		}
		for _, d := range dependencies(c) {
			waits[name] = append(waits[name], d.Container)
		}
	}
	if cyclic(waits) {
		return ecserr.Client("Container links, volumesFrom and dependsOn contain a cycle")
	}
	return nil
}

// cyclic takes away, again and again, those that wait for none of those that are left.
func cyclic(waits map[string][]string) bool {
	for len(waits) > 0 {
		before := len(waits)
		for name, all := range waits {
			if !slices.ContainsFunc(all, func(other string) bool { _, left := waits[other]; return left }) {
				delete(waits, name)
			}
		}
		if len(waits) == before {
			return true
		}
	}
	return false
}

// maxRangedPorts is how many ports of a container's ranges are mapped: each takes a port of the host.
const maxRangedPorts = 100

// checkPortRanges bounds what is mapped one by one.
func checkPortRanges(in *Request) error {
	if NetworkMode(in) == types.NetworkModeAwsvpc {
		return nil // all ports of the task's address are its own
	}
	for _, c := range in.ContainerDefinitions {
		ports := 0
		for _, p := range c.PortMappings {
			if from, to, ok := portRange(aws.ToString(p.ContainerPortRange)); ok {
				ports += to - from + 1
			}
		}
		if ports > maxRangedPorts {
			return settingError(aws.ToString(c.Name), "'containerPortRange': at most %d ports of ranges can be mapped here when networkMode=%s.", maxRangedPorts, NetworkMode(in))
		}
	}
	return nil
}

// checkVolumeKinds: a volume is of one kind.
func checkVolumeKinds(in *Request) error {
	for _, v := range in.Volumes {
		name := aws.ToString(v.Name)
		kinds := 0
		for _, given := range []bool{
			v.Host != nil && aws.ToString(v.Host.SourcePath) != "", v.DockerVolumeConfiguration != nil, v.EfsVolumeConfiguration != nil,
			v.FsxWindowsFileServerVolumeConfiguration != nil, v.S3filesVolumeConfiguration != nil, aws.ToBool(v.ConfiguredAtLaunch),
		} {
			if given {
				kinds++
			}
		}
		switch {
		case kinds > 1:
			return ecserr.Client("Invalid setting for volume '%s'. Only one kind of volume can be specified.", name)
		case v.Host != nil && aws.ToString(v.Host.SourcePath) != "" && !absolute(v.Host.SourcePath):
			return ecserr.Client("Invalid setting for volume '%s'. 'sourcePath' must be an absolute path without a colon.", name)
		}
		if d := v.DockerVolumeConfiguration; d != nil {
			if err := optional("scope", d.Scope, d.Scope.Values()); err != nil {
				return err
			}
		}
	}
	return nil
}

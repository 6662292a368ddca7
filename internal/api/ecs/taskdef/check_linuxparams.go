package taskdef

import (
	"net/netip"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
)

func checkLinuxParameters(name string, l *types.LinuxParameters) error {
	if l == nil {
		return nil
	}
	for _, device := range l.Devices {
		if err := checkDevice(name, device); err != nil {
			return err
		}
	}
	for _, mount := range l.Tmpfs {
		switch {
		case !path.IsAbs(aws.ToString(mount.ContainerPath)):
			return settingError(name, "'containerPath' of a tmpfs must be an absolute path.")
		case mount.Size < 1:
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

func checkDevice(name string, device types.Device) error {
	if !path.IsAbs(aws.ToString(device.HostPath)) || device.ContainerPath != nil && !path.IsAbs(*device.ContainerPath) {
		return settingError(name, "'hostPath' and 'containerPath' of a device must be absolute paths.")
	}
	for _, permission := range device.Permissions {
		if err := ecserr.OneOf("device permission", permission, permission.Values()); err != nil {
			return err
		}
	}
	return nil
}

// checkHostNames checks the resolvers and the additional host names of a container.
func checkHostNames(name string, c types.ContainerDefinition) error {
	for _, server := range c.DnsServers {
		if _, err := netip.ParseAddr(server); err != nil {
			return settingError(name, "'dnsServers' must be IP addresses; %q is not.", server)
		}
	}
	for _, h := range c.ExtraHosts {
		_, err := netip.ParseAddr(aws.ToString(h.IpAddress))
		host := aws.ToString(h.Hostname)
		if err != nil || host == "" || strings.ContainsAny(host, ": \t\n") {
			return settingError(name, "'extraHosts' must have a hostname and an IP address.")
		}
	}
	return nil
}

// checkSystemControls rejects kernel parameters of a namespace that the container shares with the machine, because they
// would change the machine's settings (ECS API Reference, SystemControl).
func checkSystemControls(in *Request, name string, c types.ContainerDefinition) error {
	for _, s := range c.SystemControls {
		parameter := aws.ToString(s.Namespace)
		isIPC := strings.HasPrefix(parameter, "kernel.") || strings.HasPrefix(parameter, "fs.mqueue.")
		switch {
		case parameter == "" || s.Value == nil:
			return settingError(name, "A system control must have a namespace and a value.")
		case strings.HasPrefix(parameter, "net.") && NetworkMode(in) == types.NetworkModeHost:
			return settingError(name, "The system control %s is not supported when networkMode=host.", parameter)
		case isIPC && in.IpcMode == types.IpcModeHost:
			return settingError(name, "The system control %s is not supported when ipcMode=host.", parameter)
		}
	}
	return nil
}

package taskdef

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
)

var portNamePattern = regexp.MustCompile(`^[a-z0-9_][a-z0-9_-]{0,63}$`)

// checkPorts checks the port mappings. In bridge mode each container has its own ports; in the other modes the
// containers of a task share them.
func checkPorts(in *Request) error {
	mode := NetworkMode(in)
	names := map[string]bool{}
	used := portSet{}
	for _, c := range in.ContainerDefinitions {
		if mode == types.NetworkModeBridge {
			used = portSet{}
		}
		if mode == types.NetworkModeNone && len(c.PortMappings) > 0 {
			return ecserr.Client("Port mappings are not supported when networkMode=none")
		}
		if len(c.PortMappings) > 100 {
			return ecserr.Client("Container '%s' has more than 100 port mappings.", aws.ToString(c.Name))
		}
		for _, mapping := range c.PortMappings {
			if err := checkPort(mode, mapping, used); err != nil {
				return err
			}
			if err := checkPortName(aws.ToString(mapping.Name), names); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkPortName checks the name of a port mapping, which may be empty, and adds it to names.
func checkPortName(name string, names map[string]bool) error {
	switch {
	case name == "":
		return nil
	case !portNamePattern.MatchString(name):
		return ecserr.Client("Invalid port mapping name %q: up to 64 lower-case letters, digits, hyphens and underscores, "+
			"not beginning with a hyphen", name)
	case names[name]:
		return ecserr.Client("port mapping name is already used")
	}
	names[name] = true
	return nil
}

// portSet contains container ports.
type portSet map[port]bool

type port struct {
	protocol types.TransportProtocol
	number   int
}

// add adds the ports from first to last. It returns false if one of them is already in the set.
func (s portSet) add(protocol types.TransportProtocol, first, last int) bool {
	for n := first; n <= last; n++ {
		if s[port{protocol, n}] {
			return false
		}
		s[port{protocol, n}] = true
	}
	return true
}

// checkPort checks a port mapping and adds its container ports to used.
func checkPort(mode types.NetworkMode, mapping types.PortMapping, used portSet) error {
	first, last, err := containerPorts(mapping)
	if err != nil {
		return err
	}
	host := int(aws.ToInt32(mapping.HostPort))
	switch {
	case first < 1 || last > 65535:
		return ecserr.Client("Invalid 'containerPort' setting: %d is not between 1 and 65535", first)
	case host < 0 || host > 65535:
		return ecserr.Client("Invalid 'hostPort' setting: %d is not between 0 and 65535", host)
	case host != 0 && host != first && (mode == types.NetworkModeAwsvpc || mode == types.NetworkModeHost):
		return ecserr.Client("When networkMode=%s, the host ports and container ports in port mappings must match.", mode)
	}
	protocol := cmp.Or(mapping.Protocol, types.TransportProtocolTcp)
	if err := ecserr.OneOf("protocol", protocol, protocol.Values()); err != nil {
		return err
	}
	if !used.add(protocol, first, last) {
		return ecserr.Client("container port is used multiple times in task")
	}
	return nil
}

// containerPorts returns the first and the last container port of a mapping.
func containerPorts(mapping types.PortMapping) (first, last int, err error) {
	text := aws.ToString(mapping.ContainerPortRange)
	if text == "" {
		single := int(aws.ToInt32(mapping.ContainerPort))
		return single, single, nil
	}
	if mapping.ContainerPort != nil || mapping.HostPort != nil {
		return 0, 0, ecserr.Client("cannot specify both single port and port range")
	}
	first, last, ok := parsePortRange(text)
	if !ok {
		return 0, 0, ecserr.Client("Invalid 'containerPortRange' setting")
	}
	return first, last, nil
}

// parsePortRange parses a range of ports ("8000-8010").
func parsePortRange(s string) (first, last int, ok bool) {
	firstText, lastText, ok := strings.Cut(s, "-")
	first, err := strconv.Atoi(firstText)
	last, err2 := strconv.Atoi(lastText)
	return first, last, ok && err == nil && err2 == nil && first >= 1 && first <= last && last <= 65535
}

// maxRangedPorts is the largest number of ports in a container's ranges that are mapped one by one. Each of them uses a
// port of the host.
const maxRangedPorts = 100

func checkPortRanges(in *Request) error {
	if NetworkMode(in) == types.NetworkModeAwsvpc {
		return nil // the task has its own address, so its ports are not mapped
	}
	for _, c := range in.ContainerDefinitions {
		ports := 0
		for _, mapping := range c.PortMappings {
			if first, last, ok := parsePortRange(aws.ToString(mapping.ContainerPortRange)); ok {
				ports += last - first + 1
			}
		}
		if ports > maxRangedPorts {
			return settingError(aws.ToString(c.Name),
				"'containerPortRange': this server maps at most %d ports of ranges when networkMode=%s.",
				maxRangedPorts, NetworkMode(in))
		}
	}
	return nil
}

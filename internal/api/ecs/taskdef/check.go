package taskdef

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
)

func checkFamily(in *Request) error {
	switch {
	case !identifier.ValidName(aws.ToString(in.Family)):
		return ecserr.Client("Family contains invalid characters.")
	case len(in.ContainerDefinitions) == 0:
		return ecserr.Client("Container list cannot be empty.")
	case len(in.ContainerDefinitions) > 10:
		return ecserr.Client("A task definition can have at most 10 containers.")
	//lint:ignore SA1019 it is read to be refused
	case len(in.InferenceAccelerators) > 0:
		return ecserr.Client("Unsupported field 'inferenceAccelerators'")
	}
	return ecserr.First(
		ecserr.OneOf("networkMode", in.NetworkMode, in.NetworkMode.Values()),
		ecserr.OneOf("pidMode", in.PidMode, in.PidMode.Values()),
		ecserr.OneOf("ipcMode", in.IpcMode, in.IpcMode.Values()),
	)
}

// NormalizeSize makes cpu CPU units and memory MiB, both as whole numbers in text.
func NormalizeSize(in *Request) error {
	if in.Cpu != nil {
		cpu, ok := quantity(*in.Cpu, "vcpu", 1024)
		if !ok || cpu < 128 || cpu > 196608 {
			return ecserr.Invalid("Invalid 'cpu' setting for task.")
		}
		in.Cpu = aws.String(strconv.Itoa(cpu))
	}
	if in.Memory != nil {
		memory, ok := quantity(*in.Memory, "gb", 1024)
		if !ok || memory < 1 {
			return ecserr.Invalid("Invalid 'memory' setting for task.")
		}
		in.Memory = aws.String(strconv.Itoa(memory))
	}
	return nil
}

// quantity reads "512", or "0.5 GB" with unit "gb" of factor 1024.
func quantity(s, unit string, factor float64) (int, bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	if n, err := strconv.Atoi(s); err == nil {
		return n, true
	}
	s, ok := strings.CutSuffix(s, unit)
	f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if !ok || err != nil || f < 0 || f > 1<<20 {
		return 0, false
	}
	return int(f * factor), true
}

func checkContainers(in *Request) error {
	seen := map[string]bool{}
	essential := false
	for _, c := range in.ContainerDefinitions {
		name := aws.ToString(c.Name)
		switch {
		case name == "":
			return ecserr.Client("Container.name should not be null or empty.")
		case !identifier.ValidName(name):
			return ecserr.Client("Container name %q: up to 255 letters, digits, hyphens and underscores are allowed", name)
		case aws.ToString(c.Image) == "":
			return ecserr.Client("Container.image should not be null or empty.")
		case seen[name]:
			return ecserr.Client("Container names must be unique within a task definition")
		}
		seen[name] = true
		essential = essential || isEssential(c)
	}
	if !essential {
		return ecserr.Client("Task definition doesn't have any essential container.")
	}
	return nil
}

func isEssential(c types.ContainerDefinition) bool { return c.Essential == nil || *c.Essential }

func checkContainerMemory(in *Request) error {
	size, _ := strconv.Atoi(aws.ToString(in.Memory)) // normaliseTaskSize has been here
	for _, c := range in.ContainerDefinitions {
		name := aws.ToString(c.Name)
		switch {
		case in.Memory == nil && c.Memory == nil && c.MemoryReservation == nil:
			return ecserr.Client("Invalid setting for container '%s'. At least one of 'memory' or 'memoryReservation' must be specified.", name)
		case c.Memory != nil && *c.Memory < 6:
			return ecserr.Client("Invalid setting for container '%s'. 'memory' must be at least 6.", name)
		case c.Memory != nil && c.MemoryReservation != nil && *c.Memory < *c.MemoryReservation:
			return ecserr.Client("Invalid setting for container '%s'. 'memory' must be greater than or equal to 'memoryReservation'.", name)
		case in.Memory != nil && c.Memory != nil && int(*c.Memory) > size:
			return ecserr.Client("The 'memory' setting for container '%s' is greater than for the task", name)
		}
		for _, u := range c.Ulimits {
			if u.SoftLimit > u.HardLimit {
				return ecserr.Client("Soft limit exceeds hard limit for ulimit %s", u.Name)
			}
		}
	}
	return nil
}

// NetworkMode is the network mode; absent is bridge.
func NetworkMode(in *Request) types.NetworkMode {
	if in.NetworkMode == "" {
		return types.NetworkModeBridge
	}
	return in.NetworkMode
}

// checkNetworkMode refuses what a container cannot have in awsvpc mode, where it shares the task's network.
func checkNetworkMode(in *Request) error {
	mode := NetworkMode(in)
	for _, c := range in.ContainerDefinitions {
		if len(c.Links) > 0 && mode != types.NetworkModeBridge {
			return ecserr.Client("Links are not supported when networkMode=%s", mode)
		}
		if mode != types.NetworkModeAwsvpc {
			continue
		}
		switch {
		case aws.ToString(c.Hostname) != "":
			return ecserr.Client("hostname is not supported on container when networkMode=awsvpc")
		case len(c.ExtraHosts) > 0:
			return ecserr.Client("Extra hosts are not supported on container when networkMode=awsvpc")
		case len(c.DnsServers) > 0:
			return ecserr.Client("DNS servers are not supported on container when networkMode=awsvpc")
		case len(c.DnsSearchDomains) > 0:
			return ecserr.Client("DNS search domains are not supported on container when networkMode=awsvpc")
		}
	}
	return nil
}

var regionPattern = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

var portNamePattern = regexp.MustCompile(`^[a-z0-9_][a-z0-9_-]{0,63}$`)

// checkPorts looks at the port mappings. In bridge mode each container has ports of its own, else the task
// has them.
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
		for _, p := range c.PortMappings {
			if err := checkPort(mode, p, used); err != nil {
				return err
			}
			name := aws.ToString(p.Name)
			switch {
			case name == "":
			case !portNamePattern.MatchString(name):
				return ecserr.Client("Invalid port mapping name %q: up to 64 lower-case letters, digits, hyphens and underscores, not beginning with a hyphen", name)
			case names[name]:
				return ecserr.Client("port mapping name is already used")
			}
			names[name] = true
		}
	}
	return nil
}

type portSet map[port]bool

type port struct {
	protocol types.TransportProtocol
	number   int
}

// checkPort looks at one mapping and notes its container ports in used.
func checkPort(mode types.NetworkMode, p types.PortMapping, used portSet) error {
	from, to := int(aws.ToInt32(p.ContainerPort)), int(aws.ToInt32(p.ContainerPort))
	if r := aws.ToString(p.ContainerPortRange); r != "" {
		if p.ContainerPort != nil || p.HostPort != nil {
			return ecserr.Client("cannot specify both single port and port range")
		}
		var ok bool
		if from, to, ok = portRange(r); !ok {
			return ecserr.Client("Invalid 'containerPortRange' setting")
		}
	}
	host := int(aws.ToInt32(p.HostPort))
	switch {
	case from < 1 || to > 65535:
		return ecserr.Client("Invalid 'containerPort' setting: %d is not between 1 and 65535", from)
	case host < 0 || host > 65535:
		return ecserr.Client("Invalid 'hostPort' setting: %d is not between 0 and 65535", host)
	case host != 0 && host != from && (mode == types.NetworkModeAwsvpc || mode == types.NetworkModeHost):
		return ecserr.Client("When networkMode=%s, the host ports and container ports in port mappings must match.", mode)
	}
	protocol := cmp.Or(p.Protocol, types.TransportProtocolTcp)
	if err := ecserr.OneOf("protocol", protocol, protocol.Values()); err != nil {
		return err
	}
	for n := from; n <= to; n++ {
		if used[port{protocol, n}] {
			return ecserr.Client("container port is used multiple times in task")
		}
		used[port{protocol, n}] = true
	}
	return nil
}

// portRange reads "8000-8010".
func portRange(s string) (from, to int, ok bool) {
	a, b, ok := strings.Cut(s, "-")
	from, err := strconv.Atoi(a)
	to, err2 := strconv.Atoi(b)
	return from, to, ok && err == nil && err2 == nil && from >= 1 && from <= to && to <= 65535
}

// checkVolumes holds what containers mount against what the task has.
func checkVolumes(in *Request) error {
	volumes, containers := map[string]bool{}, map[string]bool{}
	for _, v := range in.Volumes {
		name := aws.ToString(v.Name)
		if !identifier.ValidName(name) {
			return ecserr.Client("Volume name %q: up to 255 letters, digits, hyphens and underscores are allowed", name)
		}
		if volumes[name] {
			return ecserr.Client("Volume names must be unique within a task definition: %s", name)
		}
		volumes[name] = true
	}
	for _, c := range in.ContainerDefinitions {
		containers[aws.ToString(c.Name)] = true
	}
	for _, c := range in.ContainerDefinitions {
		for _, m := range c.MountPoints {
			if v := aws.ToString(m.SourceVolume); !volumes[v] {
				return ecserr.Client("Unknown volume '%s'.", v)
			}
		}
		for _, v := range c.VolumesFrom {
			if name := aws.ToString(v.SourceContainer); !containers[name] {
				return ecserr.Client("Invalid 'volumesFrom' setting. Unknown container: '%s'", name)
			}
		}
	}
	return nil
}

// checkEnvironment looks at the names of what a task gets from elsewhere; whether it is there is seen when it starts.
func checkEnvironment(in *Request) error {
	for _, c := range in.ContainerDefinitions {
		name := aws.ToString(c.Name)
		for _, s := range c.Secrets {
			if aws.ToString(s.Name) == "" || aws.ToString(s.ValueFrom) == "" {
				return ecserr.Client("Invalid setting for container '%s'. A secret must have a name and a valueFrom.", name)
			}
		}
		if len(c.EnvironmentFiles) > 10 {
			return ecserr.Client("Invalid setting for container '%s'. At most 10 environment files can be specified.", name)
		}
		for _, f := range c.EnvironmentFiles {
			if err := ecserr.OneOf("environment file type", cmp.Or(f.Type, "null"), f.Type.Values()); err != nil {
				return err
			}
			if !strings.HasSuffix(aws.ToString(f.Value), ".env") {
				return ecserr.Client("Invalid setting for container '%s'. An environment file's name must end with .env.", name)
			}
		}
	}
	return nil
}

func checkDependencies(in *Request) error {
	byName := map[string]types.ContainerDefinition{}
	for _, c := range in.ContainerDefinitions {
		byName[aws.ToString(c.Name)] = c
	}
	for _, c := range in.ContainerDefinitions {
		for _, dep := range c.DependsOn {
			name := aws.ToString(dep.ContainerName)
			on, ok := byName[name]
			switch {
			case !ok:
				return ecserr.Client("Cannot depend on container + '%s' because it does not exist", name)
			case !slices.Contains(dep.Condition.Values(), dep.Condition):
				return ecserr.OneOf("condition", cmp.Or(dep.Condition, "null"), dep.Condition.Values())
			case (dep.Condition == types.ContainerConditionSuccess || dep.Condition == types.ContainerConditionComplete) && isEssential(on):
				return ecserr.Client("A dependency container with SUCCESS or COMPLETE condition cannot be an essential container")
			case dep.Condition == types.ContainerConditionHealthy && on.HealthCheck == nil:
				return ecserr.Client("A dependency container with HEALTHY condition must have health check configured")
			}
		}
	}
	waits := map[string][]string{}
	for name, c := range byName {
		waits[name] = nil
		for _, dep := range c.DependsOn {
			waits[name] = append(waits[name], aws.ToString(dep.ContainerName))
		}
	}
	if cyclic(waits) {
		return ecserr.Client("Container dependsOn contains a cycle")
	}
	return nil
}

func checkHealthChecks(in *Request) error {
	for _, c := range in.ContainerDefinitions {
		h := c.HealthCheck
		if h == nil {
			continue
		}
		if len(h.Command) == 0 || h.Command[0] == "" || len(h.Command) == 1 && strings.HasPrefix(h.Command[0], "CMD") {
			return ecserr.Client("Health check of container '%s': the command cannot be empty.", aws.ToString(c.Name))
		}
		for _, bound := range []struct {
			name     string
			value    *int32
			min, max int32
		}{
			{"interval", h.Interval, 5, 300}, {"timeout", h.Timeout, 2, 60}, {"retries", h.Retries, 1, 10}, {"startPeriod", h.StartPeriod, 0, 300},
		} {
			if bound.value != nil && (*bound.value < bound.min || *bound.value > bound.max) {
				return ecserr.Client("Health check of container '%s': '%s' must be between %d and %d.", aws.ToString(c.Name), bound.name, bound.min, bound.max)
			}
		}
	}
	return nil
}

func checkTimeouts(in *Request) error {
	for _, c := range in.ContainerDefinitions {
		name := aws.ToString(c.Name)
		if c.StartTimeout != nil && *c.StartTimeout < 2 {
			return ecserr.Client("Granular start timeout on container '%s' must be at least 2 seconds.", name)
		}
		if c.StopTimeout != nil && *c.StopTimeout < 2 {
			return ecserr.Client("Granular stop timeout on container '%s' must be at least 2 seconds.", name)
		}
		if r := c.RestartPolicy; r != nil && r.RestartAttemptPeriod != nil && (*r.RestartAttemptPeriod < 60 || *r.RestartAttemptPeriod > 1800) {
			return ecserr.Client("the 'restartAttemptPeriod' setting for container '%s' must be between 60 and 1800", name)
		}
	}
	return nil
}

func checkLogging(in *Request) error {
	for _, c := range in.ContainerDefinitions {
		log := c.LogConfiguration
		if log == nil {
			continue
		}
		if err := ecserr.OneOf("log driver", cmp.Or(log.LogDriver, "null"), log.LogDriver.Values()); err != nil {
			return err
		}
		if log.LogDriver == types.LogDriverAwslogs && (log.Options["awslogs-region"] == "" || log.Options["awslogs-group"] == "") {
			return ecserr.Client("Log driver awslogs requires options: awslogs-region, awslogs-group")
		}
		if region, ok := log.Options["awslogs-region"]; ok && !regionPattern.MatchString(region) {
			return ecserr.Client("Log driver awslogs: %q is not a region", region)
		}
	}
	return nil
}

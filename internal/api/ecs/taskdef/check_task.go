package taskdef

import (
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/clusterquery"
)

func checkFamily(in *Request) error {
	switch {
	case !identifier.ValidName(aws.ToString(in.Family)):
		return ecserr.Client("Family contains invalid characters.")
	case len(in.ContainerDefinitions) == 0:
		return ecserr.Client("Container list cannot be empty.")
	case len(in.ContainerDefinitions) > 10:
		return ecserr.Client("A task definition can have at most 10 containers.")
	//nolint:staticcheck // a request that has the deprecated member is rejected
	case len(in.InferenceAccelerators) > 0:
		return ecserr.Client("Unsupported field 'inferenceAccelerators'")
	}
	return ecserr.First(
		ecserr.OneOf("networkMode", in.NetworkMode, in.NetworkMode.Values()),
		ecserr.OneOf("pidMode", in.PidMode, in.PidMode.Values()),
		ecserr.OneOf("ipcMode", in.IpcMode, in.IpcMode.Values()),
	)
}

// NormalizeSize checks the task's cpu and memory, and converts them to CPU units and MiB, written as whole numbers.
func NormalizeSize(in *Request) error {
	if in.Cpu != nil {
		cpu, ok := parseQuantity(*in.Cpu, "vcpu", 1024)
		if !ok || cpu < 128 || cpu > 196608 {
			return ecserr.Invalid("Invalid 'cpu' setting for task.")
		}
		in.Cpu = aws.String(strconv.Itoa(cpu))
	}
	if in.Memory != nil {
		memory, ok := parseQuantity(*in.Memory, "gb", 1024)
		if !ok || memory < 1 {
			return ecserr.Invalid("Invalid 'memory' setting for task.")
		}
		in.Memory = aws.String(strconv.Itoa(memory))
	}
	return nil
}

// parseQuantity parses a whole number ("512"), or a number with a unit ("0.5 GB"), which it multiplies by factor.
func parseQuantity(s, unit string, factor float64) (int, bool) {
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

// checkNetworkMode rejects settings of containers that the task's network mode does not allow. In awsvpc mode all
// containers share the task's network, including its host name and its resolvers.
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

// checkVolumes checks that the task has the volumes and containers that its containers mount.
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

// checkVolumeKinds checks that each volume is of at most one kind.
func checkVolumeKinds(in *Request) error {
	for _, v := range in.Volumes {
		name := aws.ToString(v.Name)
		hasPath := v.Host != nil && aws.ToString(v.Host.SourcePath) != ""
		kinds := 0
		for _, present := range []bool{
			hasPath,
			v.DockerVolumeConfiguration != nil,
			v.EfsVolumeConfiguration != nil,
			v.FsxWindowsFileServerVolumeConfiguration != nil,
			v.S3filesVolumeConfiguration != nil,
			aws.ToBool(v.ConfiguredAtLaunch),
		} {
			if present {
				kinds++
			}
		}
		switch {
		case kinds > 1:
			return ecserr.Client("Invalid setting for volume '%s'. Only one kind of volume can be specified.", name)
		case hasPath && !isMountPath(v.Host.SourcePath):
			return ecserr.Client("Invalid setting for volume '%s'. "+
				"'sourcePath' must be an absolute path without a colon.", name)
		}
		if d := v.DockerVolumeConfiguration; d != nil {
			if err := ecserr.OneOf("scope", d.Scope, d.Scope.Values()); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkPlacement(in *Request) error {
	if len(in.PlacementConstraints) > 10 {
		return ecserr.Client("A task definition can have at most 10 placement constraints.")
	}
	for _, p := range in.PlacementConstraints {
		if err := ecserr.RequireOneOf("placement constraint type", p.Type, p.Type.Values()); err != nil {
			return err
		}
		if problem := ExpressionProblem(aws.ToString(p.Expression)); problem != "" {
			return ecserr.Client("%s", problem)
		}
	}
	return nil
}

// ExpressionProblem returns a message about the expression of a memberOf constraint, or an empty string if the
// expression is valid.
func ExpressionProblem(expression string) string {
	if expression == "" {
		return "A memberOf constraint must have an expression of at most 2000 characters"
	}
	if _, err := clusterquery.Parse(expression); err != nil {
		return "Invalid expression in placement constraint: " + err.Error()
	}
	return ""
}

// checkRuntimes rejects settings that neither runtime supports, because the task would run without them. A definition
// that only one of the runtimes can run is accepted; docs/compat/ecs.md lists the differences.
func checkRuntimes(in *Request) error {
	if p := in.RuntimePlatform; p != nil {
		if err := ecserr.First(
			ecserr.OneOf("cpuArchitecture", p.CpuArchitecture, p.CpuArchitecture.Values()),
			ecserr.OneOf("operatingSystemFamily", p.OperatingSystemFamily, p.OperatingSystemFamily.Values()),
		); err != nil {
			return err
		}
		if family := p.OperatingSystemFamily; family != "" && family != types.OSFamilyLinux {
			return ecserr.Client("Unsupported value '%s' of 'operatingSystemFamily': this server runs tasks on Linux", family)
		}
	}
	for _, c := range in.ContainerDefinitions {
		name := aws.ToString(c.Name)
		switch {
		case len(c.ResourceRequirements) > 0:
			return ecserr.Client("Unsupported field 'resourceRequirements' of container '%s': "+
				"this server has no GPUs for tasks", name)
		case c.FirelensConfiguration != nil:
			return ecserr.Client("Unsupported field 'firelensConfiguration' of container '%s': "+
				"this server has no log router", name)
		case c.LogConfiguration != nil && c.LogConfiguration.LogDriver == types.LogDriverAwsfirelens:
			return ecserr.Client("Unsupported value 'awsfirelens' of 'logDriver' of container '%s': "+
				"this server has no log router", name)
		case len(c.CredentialSpecs) > 0:
			return ecserr.Client("Unsupported field 'credentialSpecs' of container '%s': "+
				"this server has no Active Directory", name)
		}
	}
	return nil
}

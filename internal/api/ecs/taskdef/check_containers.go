package taskdef

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
)

func checkContainers(in *Request) error {
	seen := map[string]bool{}
	hasEssential := false
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
		hasEssential = hasEssential || isEssential(c)
	}
	if !hasEssential {
		return ecserr.Client("Task definition doesn't have any essential container.")
	}
	return nil
}

// checkContainerMemory needs the task's memory in the form that NormalizeSize writes.
func checkContainerMemory(in *Request) error {
	taskMemory, _ := strconv.Atoi(aws.ToString(in.Memory))
	for _, c := range in.ContainerDefinitions {
		name := aws.ToString(c.Name)
		switch {
		case in.Memory == nil && c.Memory == nil && c.MemoryReservation == nil:
			return settingError(name, "At least one of 'memory' or 'memoryReservation' must be specified.")
		case c.Memory != nil && *c.Memory < 6:
			return settingError(name, "'memory' must be at least 6.")
		case c.Memory != nil && c.MemoryReservation != nil && *c.Memory < *c.MemoryReservation:
			return settingError(name, "'memory' must be greater than or equal to 'memoryReservation'.")
		case in.Memory != nil && c.Memory != nil && int(*c.Memory) > taskMemory:
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

// checkEnvironment checks the names of secrets and environment files. Whether they exist is known only when a task
// starts.
func checkEnvironment(in *Request) error {
	for _, c := range in.ContainerDefinitions {
		name := aws.ToString(c.Name)
		for _, s := range c.Secrets {
			if aws.ToString(s.Name) == "" || aws.ToString(s.ValueFrom) == "" {
				return settingError(name, "A secret must have a name and a valueFrom.")
			}
		}
		if len(c.EnvironmentFiles) > 10 {
			return settingError(name, "At most 10 environment files can be specified.")
		}
		for _, f := range c.EnvironmentFiles {
			if err := ecserr.RequireOneOf("environment file type", f.Type, f.Type.Values()); err != nil {
				return err
			}
			if !strings.HasSuffix(aws.ToString(f.Value), ".env") {
				return settingError(name, "An environment file's name must end with .env.")
			}
		}
	}
	return nil
}

func checkDependencies(in *Request) error {
	byName := map[string]types.ContainerDefinition{}
	waitsFor := map[string][]string{}
	for _, c := range in.ContainerDefinitions {
		byName[aws.ToString(c.Name)] = c
	}
	for name := range byName {
		waitsFor[name] = nil
	}
	for _, c := range in.ContainerDefinitions {
		for _, dependency := range c.DependsOn {
			if err := checkDependency(dependency, byName); err != nil {
				return err
			}
			name := aws.ToString(c.Name)
			waitsFor[name] = append(waitsFor[name], aws.ToString(dependency.ContainerName))
		}
	}
	if hasCycle(waitsFor) {
		return ecserr.Client("Container dependsOn contains a cycle")
	}
	return nil
}

func checkDependency(dependency types.ContainerDependency, byName map[string]types.ContainerDefinition) error {
	name, condition := aws.ToString(dependency.ContainerName), dependency.Condition
	on, ok := byName[name]
	if !ok {
		return ecserr.Client("Cannot depend on container + '%s' because it does not exist", name)
	}
	if err := ecserr.RequireOneOf("condition", condition, condition.Values()); err != nil {
		return err
	}
	waitsForEnd := condition == types.ContainerConditionSuccess || condition == types.ContainerConditionComplete
	switch {
	case waitsForEnd && isEssential(on):
		return ecserr.Client("A dependency container with SUCCESS or COMPLETE condition cannot be an essential container")
	case condition == types.ContainerConditionHealthy && on.HealthCheck == nil:
		return ecserr.Client("A dependency container with HEALTHY condition must have health check configured")
	}
	return nil
}

// checkLinks checks that the linked containers exist. An engine creates a container after those that it links to or
// mounts the volumes of, so these and dependsOn together must not form a cycle.
func checkLinks(in *Request) error {
	waitsFor := map[string][]string{}
	for _, c := range in.ContainerDefinitions {
		waitsFor[aws.ToString(c.Name)] = nil
	}
	for _, c := range in.ContainerDefinitions {
		name := aws.ToString(c.Name)
		for _, link := range c.Links {
			to, alias, hasAlias := strings.Cut(link, ":")
			if _, ok := waitsFor[to]; !ok {
				return ecserr.Client("Invalid 'links' setting. Unknown container: '%s'", to)
			}
			if hasAlias && !identifier.ValidName(alias) {
				return ecserr.Client("Invalid 'links' setting. %q is neither CONTAINER nor CONTAINER:ALIAS", link)
			}
		}
		for _, dependency := range dependencyRows(c) {
			waitsFor[name] = append(waitsFor[name], dependency.Container)
		}
	}
	if hasCycle(waitsFor) {
		return ecserr.Client("Container links, volumesFrom and dependsOn contain a cycle")
	}
	return nil
}

// hasCycle reports whether some containers wait for each other. It repeatedly removes from waitsFor the containers that
// wait for none of those that are left.
func hasCycle(waitsFor map[string][]string) bool {
	for len(waitsFor) > 0 {
		before := len(waitsFor)
		for name, dependencies := range waitsFor {
			if !slices.ContainsFunc(dependencies, func(d string) bool { _, left := waitsFor[d]; return left }) {
				delete(waitsFor, name)
			}
		}
		if len(waitsFor) == before {
			return true
		}
	}
	return false
}

func checkHealthChecks(in *Request) error {
	for _, c := range in.ContainerDefinitions {
		if c.HealthCheck == nil {
			continue
		}
		if err := checkHealthCheck(aws.ToString(c.Name), c.HealthCheck); err != nil {
			return err
		}
	}
	return nil
}

func checkHealthCheck(name string, h *types.HealthCheck) error {
	command := h.Command
	if len(command) == 0 || command[0] == "" || len(command) == 1 && strings.HasPrefix(command[0], "CMD") {
		return ecserr.Client("Health check of container '%s': the command cannot be empty.", name)
	}
	for _, member := range []struct {
		name     string
		value    *int32
		min, max int32
	}{
		{"interval", h.Interval, 5, 300},
		{"timeout", h.Timeout, 2, 60},
		{"retries", h.Retries, 1, 10},
		{"startPeriod", h.StartPeriod, 0, 300},
	} {
		if member.value != nil && (*member.value < member.min || *member.value > member.max) {
			return ecserr.Client("Health check of container '%s': '%s' must be between %d and %d.",
				name, member.name, member.min, member.max)
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
		if c.RestartPolicy == nil || c.RestartPolicy.RestartAttemptPeriod == nil {
			continue
		}
		if period := *c.RestartPolicy.RestartAttemptPeriod; period < 60 || period > 1800 {
			return ecserr.Client("the 'restartAttemptPeriod' setting for container '%s' must be between 60 and 1800", name)
		}
	}
	return nil
}

var regionPattern = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

func checkLogging(in *Request) error {
	for _, c := range in.ContainerDefinitions {
		log := c.LogConfiguration
		if log == nil {
			continue
		}
		if err := ecserr.RequireOneOf("log driver", log.LogDriver, log.LogDriver.Values()); err != nil {
			return err
		}
		region, hasRegion := log.Options["awslogs-region"]
		if log.LogDriver == types.LogDriverAwslogs && (region == "" || log.Options["awslogs-group"] == "") {
			return ecserr.Client("Log driver awslogs requires options: awslogs-region, awslogs-group")
		}
		if hasRegion && !regionPattern.MatchString(region) {
			return ecserr.Client("Log driver awslogs: %q is not a region", region)
		}
	}
	return nil
}

// settingError returns an error about a setting of a container.
func settingError(container, format string, args ...any) error {
	return ecserr.Client("Invalid setting for container '%s'. "+format, append([]any{container}, args...)...)
}

// checkContainerSettings checks the settings that only container engines use.
func checkContainerSettings(in *Request) error {
	for _, c := range in.ContainerDefinitions {
		name := aws.ToString(c.Name)
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
		case c.LogConfiguration != nil && slices.ContainsFunc(c.LogConfiguration.SecretOptions, isIncomplete):
			return settingError(name, "A secret option must have a name and a valueFrom.")
		}
		for _, u := range c.Ulimits {
			if err := ecserr.OneOf("ulimit name", u.Name, u.Name.Values()); err != nil {
				return err
			}
		}
		if err := ecserr.First(
			checkMounts(name, c),
			checkLinuxParameters(name, c.LinuxParameters),
			checkHostNames(name, c),
			checkSystemControls(in, name, c),
		); err != nil {
			return err
		}
	}
	return nil
}

func isIncomplete(s types.Secret) bool {
	return aws.ToString(s.Name) == "" || aws.ToString(s.ValueFrom) == ""
}

// isMountPath reports whether p is absolute and has no colon: an engine writes a mount as SOURCE:PATH:OPTIONS.
func isMountPath(p *string) bool {
	return path.IsAbs(aws.ToString(p)) && !strings.Contains(*p, ":")
}

func checkMounts(name string, c types.ContainerDefinition) error {
	used := map[string]bool{}
	for _, m := range c.MountPoints {
		switch p := path.Clean(aws.ToString(m.ContainerPath)); {
		case !isMountPath(m.ContainerPath):
			return settingError(name, "'containerPath' of a mount point must be an absolute path without a colon.")
		case used[p]:
			return settingError(name, "'containerPath' %s is used by two mount points.", p)
		default:
			used[p] = true
		}
	}
	return nil
}

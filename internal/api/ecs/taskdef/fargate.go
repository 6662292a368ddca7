package taskdef

import (
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
)

// fargateSizes lists the memory sizes in MiB that Fargate offers for each number of CPU units (ECS Developer Guide,
// "Task CPU and memory").
var fargateSizes = []struct{ cpu, min, max, step int }{
	{512, 1024, 4096, 1024},
	{1024, 2048, 8192, 1024},
	{2048, 4096, 16384, 1024},
	{4096, 8192, 30720, 1024},
	{8192, 16384, 61440, 4096},
	{16384, 32768, 122880, 8192},
}

// isFargateSize reports whether Fargate offers this combination of CPU units and MiB.
func isFargateSize(cpu, memory int) bool {
	if cpu == 256 {
		return memory == 512 || memory == 1024 || memory == 2048
	}
	for _, s := range fargateSizes {
		if s.cpu == cpu {
			return memory >= s.min && memory <= s.max && (memory-s.min)%s.step == 0
		}
	}
	return false
}

// checkRequiredCompatibilities checks the definition against the launch types that it requires.
func checkRequiredCompatibilities(in *Request) error {
	for _, c := range in.RequiresCompatibilities {
		if err := ecserr.OneOf("requires compatibilities", c, c.Values()); err != nil {
			return err
		}
		if c == types.CompatibilityFargate {
			if err := checkFargate(in); err != nil {
				return err
			}
		}
	}
	return nil
}

// Compatibilities returns the launch types that can run a definition, as AWS determines them.
func Compatibilities(in *Request) []types.Compatibility {
	if NetworkMode(in) != types.NetworkModeAwsvpc {
		return []types.Compatibility{types.CompatibilityExternal, types.CompatibilityEc2}
	}
	compatible := []types.Compatibility{types.CompatibilityEc2, types.CompatibilityManagedInstances}
	if checkFargate(in) == nil {
		compatible = append(compatible, types.CompatibilityFargate)
	}
	return compatible
}

// checkFargate applies Fargate's rules. A definition that breaks one is rejected if it requires Fargate; otherwise it
// runs on EC2 only. The task's cpu and memory must be in the form that NormalizeSize writes.
func checkFargate(in *Request) error {
	switch {
	case NetworkMode(in) != types.NetworkModeAwsvpc:
		return ecserr.Client("Fargate only supports network mode ‘awsvpc’.")
	case in.Cpu == nil:
		return ecserr.Client("Fargate requires that 'cpu' be defined at the task level.")
	case in.Memory == nil:
		return ecserr.Client("Fargate requires that 'memory' be defined at the task level.")
	case in.PidMode != "" && in.PidMode != types.PidModeTask:
		return ecserr.Client("Tasks using the Fargate launch type do not support pidMode '%s'. "+
			"The supported value for pidMode is 'task'.", in.PidMode)
	}
	cpu, _ := strconv.Atoi(*in.Cpu)
	memory, _ := strconv.Atoi(*in.Memory)
	if !isFargateSize(cpu, memory) {
		return ecserr.Client("No Fargate configuration exists for given values: %d CPU, %d memory. "+
			"See the Amazon ECS documentation for the valid values.", cpu, memory)
	}
	if err := checkFargateStorage(in); err != nil {
		return err
	}
	for _, c := range in.ContainerDefinitions {
		if err := ecserr.First(
			checkFargateContainer(c), checkFargateLinuxParameters(c.LinuxParameters), checkFargateLogging(in, c),
		); err != nil {
			return err
		}
	}
	return nil
}

func checkFargateStorage(in *Request) error {
	if storage := in.EphemeralStorage; storage != nil {
		switch {
		case storage.SizeInGiB < 21:
			return ecserr.Client("EphemeralStorage size should be at least 21")
		case storage.SizeInGiB > 200:
			return ecserr.Client("EphemeralStorage size should be at most 200")
		}
	}
	for _, v := range in.Volumes {
		switch {
		case v.DockerVolumeConfiguration != nil:
			return ecserr.Client("Fargate compatible task definitions do not support dockerVolumeConfiguration")
		case v.Host != nil && aws.ToString(v.Host.SourcePath) != "":
			return ecserr.Client("Fargate compatible task definitions do not support sourcePath")
		}
	}
	return nil
}

func checkFargateContainer(c types.ContainerDefinition) error {
	switch {
	case aws.ToBool(c.Privileged):
		return ecserr.Client("Fargate requires that the 'privileged' setting be 'false'")
	case len(c.DockerSecurityOptions) > 0:
		return ecserr.Client("Fargate compatible task definitions do not support dockerSecurityOptions")
	case c.StartTimeout != nil && *c.StartTimeout > 120:
		return ecserr.Client("Tasks using the Fargate launch type must have a container start timeout " +
			"of less than 120 seconds.")
	case c.StopTimeout != nil && *c.StopTimeout > 120:
		return ecserr.Client("Tasks using the Fargate launch type must have a container stop timeout " +
			"of less than 120 seconds.")
	}
	return nil
}

func checkFargateLinuxParameters(l *types.LinuxParameters) error {
	if l == nil {
		return nil
	}
	if l.SharedMemorySize != nil {
		return ecserr.Client("Fargate compatible task definitions do not support sharedMemorySize")
	}
	if l.Capabilities == nil {
		return nil
	}
	for _, capability := range l.Capabilities.Add {
		if capability != "SYS_PTRACE" {
			return ecserr.Client("%s is not allowed on Fargate.", capability)
		}
	}
	return nil
}

var fargateLogDrivers = []types.LogDriver{types.LogDriverAwslogs, types.LogDriverSplunk, types.LogDriverAwsfirelens}

func checkFargateLogging(in *Request, c types.ContainerDefinition) error {
	log := c.LogConfiguration
	switch {
	case log == nil:
		return nil
	case !slices.Contains(fargateLogDrivers, log.LogDriver):
		return ecserr.Client("%s is not a valid log driver. Must be one of [awslogs, splunk, awsfirelens]", log.LogDriver)
	case log.LogDriver == types.LogDriverAwslogs && aws.ToString(in.ExecutionRoleArn) == "":
		return ecserr.Client("Fargate requires task definition to have execution role ARN to support log driver awslogs.")
	}
	return nil
}

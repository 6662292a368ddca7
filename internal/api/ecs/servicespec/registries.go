package servicespec

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// checkRegistries finds the Cloud Map services that the tasks of def are registered in, and checks that each registry
// has the members that the network mode and the record types need.
func checkRegistries(
	r store.Reader, def *task.Definition, registries []types.ServiceRegistry,
) ([]task.Registry, error) {
	if len(registries) > 1 {
		return nil, ecserr.Invalid("service registries can have at most 1 items")
	}
	var rows []task.Registry
	for _, reg := range registries {
		svc, err := findCloudMapService(r, arn.Scope{Account: def.Account, Region: def.Region}, aws.ToString(reg.RegistryArn))
		if err != nil {
			return nil, err
		}
		if err := checkRegistry(reg, def, svc); err != nil {
			return nil, err
		}
		rows = append(rows, task.Registry{
			ARN:           aws.ToString(reg.RegistryArn),
			ServiceID:     svc.ID,
			Port:          int(aws.ToInt32(reg.Port)),
			ContainerName: aws.ToString(reg.ContainerName),
			ContainerPort: int(aws.ToInt32(reg.ContainerPort)),
		})
	}
	return rows, nil
}

// findCloudMapService finds the Cloud Map service with this ARN.
func findCloudMapService(r store.Reader, scope arn.Scope, s string) (*registry.Service, error) {
	a, err := arn.Parse(s)
	kind, id := a.Split()
	if err != nil || a.Service != "servicediscovery" || kind != "service" {
		return nil, ecserr.Invalid("Invalid registryArn %q: it must be the ARN of a Cloud Map service, "+
			"arn:aws:servicediscovery:<region>:<account>:service/srv-<id>", s)
	}
	if a.Account != scope.Account || a.Region != scope.Region {
		return nil, ecserr.Invalid("The service registry %s is of another account or region.", s)
	}
	svc, err := registry.GetService(r, scope, id)
	if err != nil {
		return nil, ecserr.Invalid("The service registry %s does not exist. Create the Cloud Map service first.", s)
	}
	return svc, nil
}

// checkRegistry applies the table of the ECS Developer Guide ("Use service discovery to connect Amazon ECS services
// with DNS names"). Beyond AWS, tasks in bridge and host mode may be registered in A records, with the host's address
// and without a port.
func checkRegistry(reg types.ServiceRegistry, def *task.Definition, svc *registry.Service) error {
	registryARN := aws.ToString(reg.RegistryArn)
	switch {
	case types.NetworkMode(def.NetworkMode) == types.NetworkModeNone:
		return ecserr.Invalid("Service discovery is not supported when networkMode 'none' is specified. "+
			"Registry: %s", registryARN)
	case svc.Has(registry.CNAME):
		return ecserr.Invalid("The service registry has CNAME records, which no task can be registered in. "+
			"Registry: %s", registryARN)
	case reg.Port != nil && namesContainer(reg):
		return ecserr.Invalid("Specify a value for either 'port' or the 'containerName' and 'containerPort' " +
			"combination, but not both")
	case reg.Port != nil && (*reg.Port < 0 || *reg.Port > 65535):
		return ecserr.Invalid("Invalid port %d of a service registry: it must be between 0 and 65535. Registry: %s",
			*reg.Port, registryARN)
	}
	if err := checkRegistryPort(reg, types.NetworkMode(def.NetworkMode), svc); err != nil {
		return err
	}
	if namesContainer(reg) {
		return checkRegistryContainer(reg, def)
	}
	return nil
}

func namesContainer(reg types.ServiceRegistry) bool {
	return reg.ContainerName != nil || reg.ContainerPort != nil
}

// checkRegistryPort checks that a registry has a port if the records need one, and in the form that the network mode
// needs.
func checkRegistryPort(reg types.ServiceRegistry, mode types.NetworkMode, svc *registry.Service) error {
	registryARN := aws.ToString(reg.RegistryArn)
	hasSRV := svc.Has(registry.SRV)
	if mode != types.NetworkModeAwsvpc {
		if reg.Port != nil || hasSRV && !namesContainer(reg) {
			return ecserr.Invalid("When specifying 'host' or 'bridge' for networkMode, values for 'containerName' and "+
				"'containerPort' must be specified from the task definition. Registry: %s", registryARN)
		}
		return nil
	}
	addressesOnly := !hasSRV && len(svc.Records) > 0
	switch {
	case addressesOnly && namesContainer(reg):
		return ecserr.Invalid("The values specified for serviceRegistries do not require a value for 'containerPort'. "+
			"Remove the value and retry. Registry: %s", registryARN)
	case addressesOnly && reg.Port != nil:
		return ecserr.Invalid("The values specified for serviceRegistries do not require a value for 'port'. "+
			"Remove the value and retry. Registry: %s", registryARN)
	case hasSRV && !namesContainer(reg) && reg.Port == nil:
		return ecserr.Invalid("When specifying 'awsvpc' for networkMode and a registry with SRV records, "+
			"specify either 'port' or 'containerName' and 'containerPort'. Registry: %s", registryARN)
	}
	return nil
}

// checkRegistryContainer checks that the task definition has the container and the port that a registry names.
func checkRegistryContainer(reg types.ServiceRegistry, def *task.Definition) error {
	if reg.ContainerName == nil || reg.ContainerPort == nil {
		return ecserr.Invalid("Specify both 'containerName' and 'containerPort', or none of them. Registry: %s",
			aws.ToString(reg.RegistryArn))
	}
	name, port := *reg.ContainerName, *reg.ContainerPort
	c, ok := def.Container(name)
	if !ok {
		return ecserr.Invalid("The container %s does not exist in the task definition.", name)
	}
	if !slices.ContainsFunc(c.Ports, func(p task.PortMapping) bool { return p.ContainerPort == int(port) }) {
		return ecserr.Invalid("The container %s did not have a container port %d defined.", name, port)
	}
	return nil
}

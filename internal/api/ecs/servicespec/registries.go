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

// checkRegistries finds the Cloud Map services that tasks of def are to be registered in, and applies the
// rules of what a registry must say for each network mode and record type.
func checkRegistries(r store.Reader, def *task.Definition, given []types.ServiceRegistry) ([]task.Registry, error) {
	if len(given) > 1 {
		return nil, ecserr.Invalid("service registries can have at most 1 items")
	}
	var registries []task.Registry
	for _, g := range given {
		svc, err := discoveryService(r, arn.Scope{Account: def.Account, Region: def.Region}, aws.ToString(g.RegistryArn))
		if err != nil {
			return nil, err
		}
		if err := checkRegistry(g, def, svc); err != nil {
			return nil, err
		}
		registries = append(registries, task.Registry{
			ARN:           aws.ToString(g.RegistryArn),
			ServiceID:     svc.ID,
			Port:          int(aws.ToInt32(g.Port)),
			ContainerName: aws.ToString(g.ContainerName),
			ContainerPort: int(aws.ToInt32(g.ContainerPort)),
		})
	}
	return registries, nil
}

// discoveryService finds the Cloud Map service that an ARN names. In a transaction, that it is there is
// compared at commit.
func discoveryService(r store.Reader, sc arn.Scope, s string) (*registry.Service, error) {
	a, err := arn.Parse(s)
	kind, id := a.Split()
	if err != nil || a.Service != "servicediscovery" || kind != "service" {
		return nil, ecserr.Invalid("Invalid registryArn %q: it must be the ARN of a Cloud Map service, arn:aws:servicediscovery:<region>:<account>:service/srv-<id>", s)
	}
	if a.Account != sc.Account || a.Region != sc.Region {
		return nil, ecserr.Invalid("The service registry %s is of another account or region.", s)
	}
	svc, err := registry.GetService(r, arn.Scope{Account: sc.Account, Region: sc.Region}, id)
	if err != nil {
		return nil, ecserr.Invalid("The service registry %s does not exist. Create the Cloud Map service first.", s)
	}
	return svc, nil
}

// checkRegistry applies the table of the ECS Developer Guide ("Use service discovery to connect Amazon ECS
// services with DNS names"). Beyond AWS, tasks in bridge and host mode may also be in A records, with the
// host's address and no port.
func checkRegistry(g types.ServiceRegistry, def *task.Definition, svc *registry.Service) error {
	arn := aws.ToString(g.RegistryArn)
	pair := g.ContainerName != nil || g.ContainerPort != nil
	mode := types.NetworkMode(def.NetworkMode)
	srv := svc.Has(registry.SRV)
	addressOnly := !srv && len(svc.Records) > 0
	switch {
	case mode == types.NetworkModeNone:
		return ecserr.Invalid("Service discovery is not supported when networkMode 'none' is specified. Registry: %s", arn)
	case svc.Has(registry.CNAME):
		return ecserr.Invalid("The service registry has CNAME records, which no task can be registered in. Registry: %s", arn)
	case g.Port != nil && pair:
		return ecserr.Invalid("Specify a value for either 'port' or the 'containerName' and 'containerPort' combination, but not both")
	case g.Port != nil && (*g.Port < 0 || *g.Port > 65535):
		return ecserr.Invalid("Invalid port %d of a service registry: it must be between 0 and 65535. Registry: %s", *g.Port, arn)
	}
	if mode == types.NetworkModeAwsvpc {
		switch {
		case addressOnly && pair:
			return ecserr.Invalid("The values specified for serviceRegistries do not require a value for 'containerPort'. Remove the value and retry. Registry: %s", arn)
		case addressOnly && g.Port != nil:
			return ecserr.Invalid("The values specified for serviceRegistries do not require a value for 'port'. Remove the value and retry. Registry: %s", arn)
		case srv && !pair && g.Port == nil:
			return ecserr.Invalid("When specifying 'awsvpc' for networkMode and a registry with SRV records, specify either 'port' or 'containerName' and 'containerPort'. Registry: %s", arn)
		}
	} else if g.Port != nil || srv && !pair {
		return ecserr.Invalid("When specifying 'host' or 'bridge' for networkMode, values for 'containerName' and 'containerPort' must be specified from the task definition. Registry: %s", arn)
	}
	if pair {
		return checkContainerPort(g, def)
	}
	return nil
}

// checkContainerPort holds a registry's container and port against the definition.
func checkContainerPort(g types.ServiceRegistry, def *task.Definition) error {
	if g.ContainerName == nil || g.ContainerPort == nil {
		return ecserr.Invalid("Specify both 'containerName' and 'containerPort', or none of them. Registry: %s", aws.ToString(g.RegistryArn))
	}
	c, ok := def.Container(*g.ContainerName)
	if !ok {
		return ecserr.Invalid("The container %s does not exist in the task definition.", *g.ContainerName)
	}
	if !slices.ContainsFunc(c.Ports, func(p task.PortMapping) bool { return p.ContainerPort == int(*g.ContainerPort) }) {
		return ecserr.Invalid("The container %s did not have a container port %d defined.", *g.ContainerName, *g.ContainerPort)
	}
	return nil
}

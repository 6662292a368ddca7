package test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
)

// namespace creates a private namespace the way a client of AWS has to, and returns its id.
func (s *server) namespace(name string) string {
	s.t.Helper()
	return s.namespaceIn(name, "vpc-local")
}

func (s *server) namespaceIn(name, vpc string) string {
	s.t.Helper()
	made := must[*servicediscovery.CreatePrivateDnsNamespaceOutput](s.t)(s.cloudMap().CreatePrivateDnsNamespace(s.t.Context(),
		&servicediscovery.CreatePrivateDnsNamespaceInput{Name: &name, Vpc: &vpc}))
	return s.operationTarget(made.OperationId)
}

// operationTarget is the namespace that an operation has made.
func (s *server) operationTarget(operation *string) string {
	s.t.Helper()
	op := must[*servicediscovery.GetOperationOutput](s.t)(s.cloudMap().GetOperation(s.t.Context(),
		&servicediscovery.GetOperationInput{OperationId: operation})).Operation
	if op.Status != sdtypes.OperationStatusSuccess {
		s.t.Fatalf("create a namespace: %s", asJSON(op))
	}
	return op.Targets["NAMESPACE"]
}

// discovery creates a Cloud Map service with records of the types given, "A" when none is, and custom
// health.
func (s *server) discovery(namespace, name string, ttl int64, records ...sdtypes.RecordType) *sdtypes.Service {
	s.t.Helper()
	if len(records) == 0 {
		records = []sdtypes.RecordType{sdtypes.RecordTypeA}
	}
	in := &servicediscovery.CreateServiceInput{
		Name: &name, NamespaceId: &namespace, DnsConfig: &sdtypes.DnsConfig{RoutingPolicy: sdtypes.RoutingPolicyMultivalue},
		HealthCheckCustomConfig: &sdtypes.HealthCheckCustomConfig{},
	}
	for _, r := range records {
		in.DnsConfig.DnsRecords = append(in.DnsConfig.DnsRecords, sdtypes.DnsRecord{Type: r, TTL: &ttl})
	}
	return must[*servicediscovery.CreateServiceOutput](s.t)(s.cloudMap().CreateService(s.t.Context(), in)).Service
}

// worker is the sample worker's definition, run by the test binary. check is its health check's shell command, whose
// first failure counts; empty is the sample's own, which only fails for good when the sample does: one that a busy
// machine runs too slowly, once, must not have the task replaced in the middle of a test.
func worker(t testing.TB, family, check string) *ecs.RegisterTaskDefinitionInput {
	timeout, retries := int32(2), int32(1)
	if check == "" {
		check = self(t) + " sample check http://$ROLLCALL_ADDRESS:$ROLLCALL_PORT_5000/health"
		timeout, retries = 20, 3
	}
	in := program(t, family, self(t), "sample", "flask-worker")
	in.ContainerDefinitions[0].PortMappings = []ecstypes.PortMapping{{ContainerPort: aws.Int32(5000)}}
	in.ContainerDefinitions[0].HealthCheck = &ecstypes.HealthCheck{
		Command: []string{"CMD-SHELL", check}, Interval: aws.Int32(5), Timeout: &timeout, Retries: &retries,
	}
	return in
}

// program is a definition of one container that runs a command and has no health check.
func program(_ testing.TB, family string, command ...string) *ecs.RegisterTaskDefinitionInput {
	return &ecs.RegisterTaskDefinitionInput{
		Family: &family, NetworkMode: ecstypes.NetworkModeAwsvpc,
		ContainerDefinitions: []ecstypes.ContainerDefinition{{
			Name: aws.String("main"), Image: aws.String("none"), Command: command, Memory: aws.Int32(64), Essential: aws.Bool(true),
		}},
	}
}

// register registers a definition and returns its ARN.
func (s *server) register(in *ecs.RegisterTaskDefinitionInput) string {
	s.t.Helper()
	out := must[*ecs.RegisterTaskDefinitionOutput](s.t)(s.ecs().RegisterTaskDefinition(s.t.Context(), in))
	return *out.TaskDefinition.TaskDefinitionArn
}

// awsvpc is the network configuration that every awsvpc task must have.
func awsvpc() *ecstypes.NetworkConfiguration {
	return &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{Subnets: []string{"subnet-local"}}}
}

// run creates an ECS service with an entry in discovery.
func (s *server) run(name, definition string, count int32, registry *sdtypes.Service) *ecstypes.Service {
	s.t.Helper()
	in := &ecs.CreateServiceInput{
		ServiceName: &name, TaskDefinition: &definition, DesiredCount: &count,
		NetworkConfiguration: awsvpc(),
	}
	if registry != nil {
		r := ecstypes.ServiceRegistry{RegistryArn: registry.Arn}
		for _, record := range registry.DnsConfig.DnsRecords {
			if record.Type == sdtypes.RecordTypeSrv {
				r.ContainerName, r.ContainerPort = aws.String("main"), aws.Int32(5000)
			}
		}
		in.ServiceRegistries = []ecstypes.ServiceRegistry{r}
	}
	return must[*ecs.CreateServiceOutput](s.t)(s.ecs().CreateService(s.t.Context(), in)).Service
}

// scale sets a service's desired count.
func (s *server) scale(service string, n int32) {
	s.t.Helper()
	must[*ecs.UpdateServiceOutput](s.t)(s.ecs().UpdateService(s.t.Context(), &ecs.UpdateServiceInput{Service: &service, DesiredCount: &n}))
}

// describe reads a service.
func (s *server) describe(name string) ecstypes.Service {
	s.t.Helper()
	out := must[*ecs.DescribeServicesOutput](s.t)(s.ecs().DescribeServices(s.t.Context(), &ecs.DescribeServicesInput{Services: []string{name}}))
	if len(out.Services) != 1 {
		s.t.Fatalf("service %s: %s", name, asJSON(out.Failures))
	}
	return out.Services[0]
}

// stable waits until a service's rollout is done and its count reached.
func (s *server) stable(name string) {
	s.t.Helper()
	eventually(s.t, 30*time.Second, "service "+name+" is stable", func() bool {
		svc := s.describe(name)
		return len(svc.Deployments) == 1 && svc.RunningCount == svc.DesiredCount &&
			svc.Deployments[0].RolloutState == ecstypes.DeploymentRolloutStateCompleted
	})
}

// tasks describes a service's tasks of a desired status.
func (s *server) tasks(service string, desired ecstypes.DesiredStatus) []ecstypes.Task {
	s.t.Helper()
	ctx := s.t.Context()
	list := must[*ecs.ListTasksOutput](s.t)(s.ecs().ListTasks(ctx, &ecs.ListTasksInput{ServiceName: &service, DesiredStatus: desired}))
	if len(list.TaskArns) == 0 {
		return nil
	}
	return must[*ecs.DescribeTasksOutput](s.t)(s.ecs().DescribeTasks(ctx, &ecs.DescribeTasksInput{Tasks: list.TaskArns})).Tasks
}

// discover is what DiscoverInstances answers: instance id to address.
func (s *server) discover(namespace, service string, health sdtypes.HealthStatusFilter) map[string]string {
	s.t.Helper()
	out := must[*servicediscovery.DiscoverInstancesOutput](s.t)(s.cloudMap().DiscoverInstances(s.t.Context(),
		&servicediscovery.DiscoverInstancesInput{NamespaceName: &namespace, ServiceName: &service, HealthStatus: health, MaxResults: aws.Int32(1000)}))
	found := map[string]string{}
	for _, i := range out.Instances {
		found[*i.InstanceId] = i.Attributes["AWS_INSTANCE_IPV4"]
	}
	return found
}

// taskID is the last part of a task's ARN.
func taskID(t ecstypes.Task) string {
	return (*t.TaskArn)[strings.LastIndexByte(*t.TaskArn, '/')+1:]
}

// address is a task's own address.
func address(t ecstypes.Task) string {
	for _, i := range t.Containers[0].NetworkInterfaces {
		return aws.ToString(i.PrivateIpv4Address)
	}
	return ""
}

// short bounds one call.
func short(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// attributes are those of one instance in DiscoverInstances.
func (s *server) attributes(namespace, service, id string) (map[string]string, error) {
	out, err := s.cloudMap().DiscoverInstances(s.t.Context(), &servicediscovery.DiscoverInstancesInput{
		NamespaceName: &namespace, ServiceName: &service, HealthStatus: sdtypes.HealthStatusFilterAll,
	})
	if err != nil {
		return nil, err
	}
	for _, i := range out.Instances {
		if *i.InstanceId == id {
			return i.Attributes, nil
		}
	}
	return nil, fmt.Errorf("no instance %s in %s", id, asJSON(out.Instances))
}

package harness

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

// CreateNamespace creates a private namespace as AWS's clients do, with an operation, and returns its id.
func (s *Server) CreateNamespace(name string) string {
	s.T.Helper()
	return s.CreateNamespaceIn(name, "vpc-local")
}

// CreateNamespaceIn creates a private namespace in a VPC.
func (s *Server) CreateNamespaceIn(name, vpc string) string {
	s.T.Helper()
	made := Must(s.CloudMap().CreatePrivateDnsNamespace(s.T.Context(),
		&servicediscovery.CreatePrivateDnsNamespaceInput{Name: &name, Vpc: &vpc}))(s.T)
	return s.NamespaceOf(made.OperationId)
}

// NamespaceOf returns the namespace that a finished operation created.
func (s *Server) NamespaceOf(operation *string) string {
	s.T.Helper()
	op := Must(s.CloudMap().GetOperation(s.T.Context(),
		&servicediscovery.GetOperationInput{OperationId: operation}))(s.T).Operation
	if op.Status != sdtypes.OperationStatusSuccess {
		s.T.Fatalf("the operation that creates a namespace: %s", AsJSON(op))
	}
	return op.Targets["NAMESPACE"]
}

// CreateCloudMapService creates a Cloud Map service with custom health and records of the types given, or A records if
// there are none.
func (s *Server) CreateCloudMapService(namespace, name string, ttl int64,
	records ...sdtypes.RecordType) *sdtypes.Service {
	s.T.Helper()
	if len(records) == 0 {
		records = []sdtypes.RecordType{sdtypes.RecordTypeA}
	}
	in := &servicediscovery.CreateServiceInput{
		Name: &name, NamespaceId: &namespace, DnsConfig: &sdtypes.DnsConfig{
			RoutingPolicy: sdtypes.RoutingPolicyMultivalue},
		HealthCheckCustomConfig: &sdtypes.HealthCheckCustomConfig{},
	}
	for _, r := range records {
		in.DnsConfig.DnsRecords = append(in.DnsConfig.DnsRecords, sdtypes.DnsRecord{Type: r, TTL: &ttl})
	}
	return Must(s.CloudMap().CreateService(s.T.Context(), in))(s.T).Service
}

// Worker returns the definition of the sample worker, run by the test binary. check is the shell command of its health
// check, whose first failure counts. If check is empty, the sample's own check is used, with wide limits: a check that
// is slow once, because the machine is busy, must not have the task replaced in the middle of a test.
func Worker(t testing.TB, family, check string) *ecs.RegisterTaskDefinitionInput {
	t.Helper()
	timeout, retries := int32(30), int32(1)
	if check == "" {
		check = TestBinary(t) + " sample check http://$ROLLCALL_ADDRESS:$ROLLCALL_PORT_5000/health"
		timeout, retries = 20, 3
	}
	in := Program(t, family, TestBinary(t), "sample", "flask-worker")
	in.ContainerDefinitions[0].PortMappings = []ecstypes.PortMapping{{ContainerPort: aws.Int32(5000)}}
	in.ContainerDefinitions[0].HealthCheck = &ecstypes.HealthCheck{
		Command: []string{"CMD-SHELL", check}, Interval: aws.Int32(5), Timeout: &timeout, Retries: &retries,
	}
	return in
}

// Program returns a definition with one container that runs a command and has no health check.
func Program(_ testing.TB, family string, command ...string) *ecs.RegisterTaskDefinitionInput {
	return &ecs.RegisterTaskDefinitionInput{
		Family: &family, NetworkMode: ecstypes.NetworkModeAwsvpc,
		ContainerDefinitions: []ecstypes.ContainerDefinition{{
			Name: aws.String("main"), Image: aws.String("none"), Command: command, Memory: aws.Int32(64),
			Essential: aws.Bool(true),
		}},
	}
}

// RegisterDefinition registers a task definition and returns its ARN.
func (s *Server) RegisterDefinition(in *ecs.RegisterTaskDefinitionInput) string {
	s.T.Helper()
	out := Must(s.ECS().RegisterTaskDefinition(s.T.Context(), in))(s.T)
	return *out.TaskDefinition.TaskDefinitionArn
}

// AWSVPC returns the network configuration that every awsvpc task must have.
func AWSVPC() *ecstypes.NetworkConfiguration {
	return &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{
		Subnets: []string{"subnet-local"}}}
}

// CreateECSService creates an ECS service. Its tasks are registered in the Cloud Map service registry, unless that is
// nil.
func (s *Server) CreateECSService(name, definition string, count int32, registry *sdtypes.Service) *ecstypes.Service {
	s.T.Helper()
	in := &ecs.CreateServiceInput{
		ServiceName: &name, TaskDefinition: &definition, DesiredCount: &count,
		NetworkConfiguration: AWSVPC(),
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
	return Must(s.ECS().CreateService(s.T.Context(), in))(s.T).Service
}

// SetDesiredCount sets a service's desired count.
func (s *Server) SetDesiredCount(service string, n int32) {
	s.T.Helper()
	Must(s.ECS().UpdateService(s.T.Context(), &ecs.UpdateServiceInput{Service: &service, DesiredCount: &n}))(s.T)
}

// DescribeService returns a service.
func (s *Server) DescribeService(name string) ecstypes.Service {
	s.T.Helper()
	out := Must(s.ECS().DescribeServices(s.T.Context(), &ecs.DescribeServicesInput{Services: []string{name}}))(s.T)
	if len(out.Services) != 1 {
		s.T.Fatalf("service %s: %s", name, AsJSON(out.Failures))
	}
	return out.Services[0]
}

// WaitStable waits until a service's deployment is complete and its desired count is running.
func (s *Server) WaitStable(name string) {
	s.T.Helper()
	Eventually(s.T, 2*time.Minute, "service "+name+" is stable", func() bool {
		svc := s.DescribeService(name)
		return len(svc.Deployments) == 1 && svc.RunningCount == svc.DesiredCount &&
			svc.Deployments[0].RolloutState == ecstypes.DeploymentRolloutStateCompleted
	})
}

// Tasks returns a service's tasks that have a desired status.
func (s *Server) Tasks(service string, desired ecstypes.DesiredStatus) []ecstypes.Task {
	s.T.Helper()
	ctx := s.T.Context()
	list := Must(s.ECS().ListTasks(ctx, &ecs.ListTasksInput{ServiceName: &service, DesiredStatus: desired}))(s.T)
	if len(list.TaskArns) == 0 {
		return nil
	}
	return Must(s.ECS().DescribeTasks(ctx, &ecs.DescribeTasksInput{Tasks: list.TaskArns}))(s.T).Tasks
}

// Discover returns what DiscoverInstances answers: the address of each instance, by its id.
func (s *Server) Discover(namespace, service string, health sdtypes.HealthStatusFilter) map[string]string {
	s.T.Helper()
	out := Must(s.CloudMap().DiscoverInstances(s.T.Context(),
		&servicediscovery.DiscoverInstancesInput{NamespaceName: &namespace, ServiceName: &service, HealthStatus: health,
			MaxResults: aws.Int32(1000)}))(s.T)
	found := map[string]string{}
	for _, i := range out.Instances {
		found[*i.InstanceId] = i.Attributes["AWS_INSTANCE_IPV4"]
	}
	return found
}

// TaskID returns the last part of a task's ARN.
func TaskID(t ecstypes.Task) string {
	return (*t.TaskArn)[strings.LastIndexByte(*t.TaskArn, '/')+1:]
}

// Address returns a task's IPv4 address.
func Address(t ecstypes.Task) string {
	for _, i := range t.Containers[0].NetworkInterfaces {
		return aws.ToString(i.PrivateIpv4Address)
	}
	return ""
}

// ShortContext returns a context for one call.
func ShortContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// InstanceAttributes returns the attributes of one instance, as DiscoverInstances answers them.
func (s *Server) InstanceAttributes(namespace, service, id string) (map[string]string, error) {
	out, err := s.CloudMap().DiscoverInstances(s.T.Context(), &servicediscovery.DiscoverInstancesInput{
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
	return nil, fmt.Errorf("no instance %s in %s", id, AsJSON(out.Instances))
}

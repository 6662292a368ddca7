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

// Namespace creates a private namespace the way a client of AWS has to, and returns its id.
func (s *Server) Namespace(name string) string {
	s.T.Helper()
	return s.NamespaceIn(name, "vpc-local")
}

func (s *Server) NamespaceIn(name, vpc string) string {
	s.T.Helper()
	made := Must(s.CloudMap().CreatePrivateDnsNamespace(s.T.Context(),
		&servicediscovery.CreatePrivateDnsNamespaceInput{Name: &name, Vpc: &vpc}))(s.T)
	return s.OperationTarget(made.OperationId)
}

// OperationTarget is the namespace that an operation has made.
func (s *Server) OperationTarget(operation *string) string {
	s.T.Helper()
	op := Must(s.CloudMap().GetOperation(s.T.Context(),
		&servicediscovery.GetOperationInput{OperationId: operation}))(s.T).Operation
	if op.Status != sdtypes.OperationStatusSuccess {
		s.T.Fatalf("create a namespace: %s", AsJSON(op))
	}
	return op.Targets["NAMESPACE"]
}

// Discovery creates a Cloud Map service with records of the types given, "A" when none is, and custom
// health.
func (s *Server) Discovery(namespace, name string, ttl int64, records ...sdtypes.RecordType) *sdtypes.Service {
	s.T.Helper()
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
	return Must(s.CloudMap().CreateService(s.T.Context(), in))(s.T).Service
}

// Worker is the sample worker's definition, run by the test binary. check is its health check's shell command, whose
// first failure counts; empty is the sample's own, which only fails for good when the sample does: one that a busy
// machine runs too slowly, once, must not have the task replaced in the middle of a test.
func Worker(t testing.TB, family, check string) *ecs.RegisterTaskDefinitionInput {
	timeout, retries := int32(2), int32(1)
	if check == "" {
		check = Self(t) + " sample check http://$ROLLCALL_ADDRESS:$ROLLCALL_PORT_5000/health"
		timeout, retries = 20, 3
	}
	in := Program(t, family, Self(t), "sample", "flask-worker")
	in.ContainerDefinitions[0].PortMappings = []ecstypes.PortMapping{{ContainerPort: aws.Int32(5000)}}
	in.ContainerDefinitions[0].HealthCheck = &ecstypes.HealthCheck{
		Command: []string{"CMD-SHELL", check}, Interval: aws.Int32(5), Timeout: &timeout, Retries: &retries,
	}
	return in
}

// Program is a definition of one container that runs a command and has no health check.
func Program(_ testing.TB, family string, command ...string) *ecs.RegisterTaskDefinitionInput {
	return &ecs.RegisterTaskDefinitionInput{
		Family: &family, NetworkMode: ecstypes.NetworkModeAwsvpc,
		ContainerDefinitions: []ecstypes.ContainerDefinition{{
			Name: aws.String("main"), Image: aws.String("none"), Command: command, Memory: aws.Int32(64), Essential: aws.Bool(true),
		}},
	}
}

// Register registers a definition and returns its ARN.
func (s *Server) Register(in *ecs.RegisterTaskDefinitionInput) string {
	s.T.Helper()
	out := Must(s.ECS().RegisterTaskDefinition(s.T.Context(), in))(s.T)
	return *out.TaskDefinition.TaskDefinitionArn
}

// AWSVPC is the network configuration that every awsvpc task must have.
func AWSVPC() *ecstypes.NetworkConfiguration {
	return &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{Subnets: []string{"subnet-local"}}}
}

// Run creates an ECS service with an entry in discovery.
func (s *Server) Run(name, definition string, count int32, registry *sdtypes.Service) *ecstypes.Service {
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

// Scale sets a service's desired count.
func (s *Server) Scale(service string, n int32) {
	s.T.Helper()
	Must(s.ECS().UpdateService(s.T.Context(), &ecs.UpdateServiceInput{Service: &service, DesiredCount: &n}))(s.T)
}

// Describe reads a service.
func (s *Server) Describe(name string) ecstypes.Service {
	s.T.Helper()
	out := Must(s.ECS().DescribeServices(s.T.Context(), &ecs.DescribeServicesInput{Services: []string{name}}))(s.T)
	if len(out.Services) != 1 {
		s.T.Fatalf("service %s: %s", name, AsJSON(out.Failures))
	}
	return out.Services[0]
}

// Stable waits until a service's rollout is done and its count reached.
func (s *Server) Stable(name string) {
	s.T.Helper()
	Eventually(s.T, 2*time.Minute, "service "+name+" is stable", func() bool {
		svc := s.Describe(name)
		return len(svc.Deployments) == 1 && svc.RunningCount == svc.DesiredCount &&
			svc.Deployments[0].RolloutState == ecstypes.DeploymentRolloutStateCompleted
	})
}

// Tasks describes a service's tasks of a desired status.
func (s *Server) Tasks(service string, desired ecstypes.DesiredStatus) []ecstypes.Task {
	s.T.Helper()
	ctx := s.T.Context()
	list := Must(s.ECS().ListTasks(ctx, &ecs.ListTasksInput{ServiceName: &service, DesiredStatus: desired}))(s.T)
	if len(list.TaskArns) == 0 {
		return nil
	}
	return Must(s.ECS().DescribeTasks(ctx, &ecs.DescribeTasksInput{Tasks: list.TaskArns}))(s.T).Tasks
}

// Discover is what DiscoverInstances answers: instance id to address.
func (s *Server) Discover(namespace, service string, health sdtypes.HealthStatusFilter) map[string]string {
	s.T.Helper()
	out := Must(s.CloudMap().DiscoverInstances(s.T.Context(),
		&servicediscovery.DiscoverInstancesInput{NamespaceName: &namespace, ServiceName: &service, HealthStatus: health, MaxResults: aws.Int32(1000)}))(s.T)
	found := map[string]string{}
	for _, i := range out.Instances {
		found[*i.InstanceId] = i.Attributes["AWS_INSTANCE_IPV4"]
	}
	return found
}

// TaskID is the last part of a task's ARN.
func TaskID(t ecstypes.Task) string {
	return (*t.TaskArn)[strings.LastIndexByte(*t.TaskArn, '/')+1:]
}

// Address is a task's own address.
func Address(t ecstypes.Task) string {
	for _, i := range t.Containers[0].NetworkInterfaces {
		return aws.ToString(i.PrivateIpv4Address)
	}
	return ""
}

// Short bounds one call.
func Short(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// Attributes are those of one instance in DiscoverInstances.
func (s *Server) Attributes(namespace, service, id string) (map[string]string, error) {
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

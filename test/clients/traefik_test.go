package clients

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// createFargateService creates a service with two Fargate tasks that have a port and Docker labels, and a service
// without tasks, in a new cluster.
func createFargateService(s *harness.Server, cluster string) {
	s.T.Helper()
	api, ctx := s.ECSWithoutRetries(), s.T.Context()
	harness.Must(api.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: &cluster,
		Tags: ecsTags("stage=test")}))(s.T)
	in := harness.Program(s.T, "web", "sleep", "1000")
	in.Cpu, in.Memory = aws.String("256"), aws.String("512")
	in.ContainerDefinitions[0].PortMappings = []ecstypes.PortMapping{{ContainerPort: aws.Int32(8080)}}
	in.ContainerDefinitions[0].DockerLabels = map[string]string{"traefik.enable": "true",
		"traefik.http.routers.web.rule": "Host(`web.example.com`)"}
	in.ContainerDefinitions[0].HealthCheck = &ecstypes.HealthCheck{Command: []string{"CMD-SHELL", "true"}}
	definition := s.RegisterDefinition(in)
	for name, count := range map[string]int32{"web": 2, "idle": 0} {
		harness.Must(api.CreateService(ctx, &ecs.CreateServiceInput{
			Cluster: &cluster, ServiceName: &name, TaskDefinition: &definition, DesiredCount: aws.Int32(count),
			LaunchType:           ecstypes.LaunchTypeFargate,
			NetworkConfiguration: harness.AWSVPC(), Tags: ecsTags("service=" + name),
			PropagateTags: ecstypes.PropagateTagsService,
		}))(s.T)
	}
	waitHealthy := func() bool {
		out := harness.Must(api.ListTasks(ctx, &ecs.ListTasksInput{Cluster: &cluster}))(s.T)
		if len(out.TaskArns) != 2 {
			return false
		}
		tasks := harness.Must(api.DescribeTasks(ctx,
			&ecs.DescribeTasksInput{Cluster: &cluster, Tasks: out.TaskArns}))(s.T).Tasks
		return !slices.ContainsFunc(tasks,
			func(t ecstypes.Task) bool { return t.HealthStatus != ecstypes.HealthStatusHealthy })
	}
	harness.Eventually(s.T, time.Minute, "both tasks are healthy", waitHealthy)
}

// TestTraefik makes the calls of Traefik's ECS provider, from the list of clusters to the addresses and labels that
// become its routers.
func TestTraefik(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "process")
	createFargateService(s, "prod")
	api, ctx := s.ECSWithoutRetries(), t.Context()

	var clusters []string
	for pages := ecs.NewListClustersPaginator(api, &ecs.ListClustersInput{}); pages.HasMorePages(); {
		clusters = append(clusters, harness.Must(pages.NextPage(ctx))(t).ClusterArns...)
	}
	type backend struct{ service, address, rule string }
	var found []backend
	for _, cluster := range clusters {
		var arns []string
		for pages := ecs.NewListTasksPaginator(api, &ecs.ListTasksInput{Cluster: &cluster,
			DesiredStatus: ecstypes.DesiredStatusRunning}); pages.HasMorePages(); {
			arns = append(arns, harness.Must(pages.NextPage(ctx))(t).TaskArns...)
		}
		if len(arns) == 0 {
			continue
		}
		for _, task := range harness.Must(api.DescribeTasks(ctx,
			&ecs.DescribeTasksInput{Cluster: &cluster, Tasks: arns}))(t).Tasks {
			if task.ContainerInstanceArn != nil {
				t.Errorf("a Fargate task has the container instance %s, for which Traefik would call EC2",
					*task.ContainerInstanceArn)
			}
			definition := harness.Must(api.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{
				TaskDefinition: task.TaskDefinitionArn}))(t).TaskDefinition
			for _, c := range task.Containers {
				i := slices.IndexFunc(definition.ContainerDefinitions,
					func(d ecstypes.ContainerDefinition) bool { return *d.Name == *c.Name })
				if i < 0 || *c.LastStatus != "RUNNING" || task.HealthStatus != ecstypes.HealthStatusHealthy {
					t.Errorf("container %s is %s, its task is %s", *c.Name, *c.LastStatus, task.HealthStatus)
					continue
				}
				d := definition.ContainerDefinitions[i]
				if definition.NetworkMode != ecstypes.NetworkModeAwsvpc || len(task.Attachments) == 0 ||
					len(c.NetworkInterfaces) == 0 {
					t.Fatalf("the task has no network interface: %s", harness.AsJSON(task))
				}
				service, ok := strings.CutPrefix(*task.Group, "service:")
				if !ok || d.DockerLabels["traefik.enable"] != "true" {
					t.Errorf("the group is %s, the labels are %v", *task.Group, d.DockerLabels)
				}
				found = append(found, backend{service, fmt.Sprintf("%s:%d", *c.NetworkInterfaces[0].PrivateIpv4Address,
					*d.PortMappings[0].HostPort),
					d.DockerLabels["traefik.http.routers.web.rule"]})
			}
		}
	}
	if len(found) != 2 || found[0].address == found[1].address {
		t.Fatalf("the backends are %v, want 2 with different addresses", found)
	}
	for _, b := range found {
		if b.service != "web" || !strings.HasSuffix(b.address, ":8080") || b.rule != "Host(`web.example.com`)" {
			t.Errorf("unexpected backend %v", b)
		}
	}
}

package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// fargateService runs a service of two Fargate tasks with a port and Docker labels, and one without tasks, in a
// cluster that is not the default one.
func (s *server) fargateService(cluster string) {
	s.T.Helper()
	api, ctx := s.ecsOnce(), s.T.Context()
	must[*ecs.CreateClusterOutput](s.T)(api.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: &cluster, Tags: ecsTags("stage=test")}))
	in := program(s.T, "web", "sleep", "1000")
	in.Cpu, in.Memory = aws.String("256"), aws.String("512")
	in.ContainerDefinitions[0].PortMappings = []ecstypes.PortMapping{{ContainerPort: aws.Int32(8080)}}
	in.ContainerDefinitions[0].DockerLabels = map[string]string{"traefik.enable": "true", "traefik.http.routers.web.rule": "Host(`web.example.com`)"}
	in.ContainerDefinitions[0].HealthCheck = &ecstypes.HealthCheck{Command: []string{"CMD-SHELL", "true"}}
	definition := s.Register(in)
	for name, count := range map[string]int32{"web": 2, "idle": 0} {
		must[*ecs.CreateServiceOutput](s.T)(api.CreateService(ctx, &ecs.CreateServiceInput{
			Cluster: &cluster, ServiceName: &name, TaskDefinition: &definition, DesiredCount: aws.Int32(count), LaunchType: ecstypes.LaunchTypeFargate,
			NetworkConfiguration: awsvpc(), Tags: ecsTags("service=" + name), PropagateTags: ecstypes.PropagateTagsService,
		}))
	}
	waitHealthy := func() bool {
		out := must[*ecs.ListTasksOutput](s.T)(api.ListTasks(ctx, &ecs.ListTasksInput{Cluster: &cluster}))
		if len(out.TaskArns) != 2 {
			return false
		}
		tasks := must[*ecs.DescribeTasksOutput](s.T)(api.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &cluster, Tasks: out.TaskArns})).Tasks
		return !slices.ContainsFunc(tasks, func(t ecstypes.Task) bool { return t.HealthStatus != ecstypes.HealthStatusHealthy })
	}
	eventually(s.T, time.Minute, "both tasks are healthy", waitHealthy)
}

// TestTraefik makes the calls of Traefik's ECS provider: from the clusters it finds to the addresses and labels
// that its routers are made of.
func TestTraefik(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "process")
	s.fargateService("prod")
	api, ctx := s.ecsOnce(), t.Context()

	var clusters []string
	for pages := ecs.NewListClustersPaginator(api, &ecs.ListClustersInput{}); pages.HasMorePages(); {
		clusters = append(clusters, must[*ecs.ListClustersOutput](t)(pages.NextPage(ctx)).ClusterArns...)
	}
	type backend struct{ service, address, rule string }
	var found []backend
	for _, cluster := range clusters {
		var arns []string
		for pages := ecs.NewListTasksPaginator(api, &ecs.ListTasksInput{Cluster: &cluster, DesiredStatus: ecstypes.DesiredStatusRunning}); pages.HasMorePages(); {
			arns = append(arns, must[*ecs.ListTasksOutput](t)(pages.NextPage(ctx)).TaskArns...)
		}
		if len(arns) == 0 {
			continue
		}
		for _, task := range must[*ecs.DescribeTasksOutput](t)(api.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &cluster, Tasks: arns})).Tasks {
			if task.ContainerInstanceArn != nil {
				t.Errorf("a Fargate task is on the container instance %s, which Traefik would ask EC2 about", *task.ContainerInstanceArn)
			}
			definition := must[*ecs.DescribeTaskDefinitionOutput](t)(api.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: task.TaskDefinitionArn})).TaskDefinition
			for _, c := range task.Containers {
				i := slices.IndexFunc(definition.ContainerDefinitions, func(d ecstypes.ContainerDefinition) bool { return *d.Name == *c.Name })
				if i < 0 || *c.LastStatus != "RUNNING" || task.HealthStatus != ecstypes.HealthStatusHealthy {
					t.Errorf("container %s is %s, its task %s", *c.Name, *c.LastStatus, task.HealthStatus)
					continue
				}
				d := definition.ContainerDefinitions[i]
				if definition.NetworkMode != ecstypes.NetworkModeAwsvpc || len(task.Attachments) == 0 || len(c.NetworkInterfaces) == 0 {
					t.Fatalf("the task has no interface: %s", asJSON(task))
				}
				service, ok := strings.CutPrefix(*task.Group, "service:")
				if !ok || d.DockerLabels["traefik.enable"] != "true" {
					t.Errorf("group %s, labels %v", *task.Group, d.DockerLabels)
				}
				found = append(found, backend{service, fmt.Sprintf("%s:%d", *c.NetworkInterfaces[0].PrivateIpv4Address, *d.PortMappings[0].HostPort),
					d.DockerLabels["traefik.http.routers.web.rule"]})
			}
		}
	}
	if len(found) != 2 || found[0].address == found[1].address {
		t.Fatalf("found %v", found)
	}
	for _, b := range found {
		if b.service != "web" || !strings.HasSuffix(b.address, ":8080") || b.rule != "Host(`web.example.com`)" {
			t.Errorf("found %v", b)
		}
	}
}

// TestPrometheus makes the calls of Prometheus's ecs_sd and reads what its labels are made of. A failing call to
// EC2 would drop the cluster's targets, so that nothing here may name what it would ask EC2 about.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "process")
	s.fargateService("prod")
	api, ctx := s.ecsOnce(), t.Context()
	must[*ecs.DescribeClustersOutput](t)(api.DescribeClusters(ctx, &ecs.DescribeClustersInput{})) // are the credentials good?

	clusters := must[*ecs.ListClustersOutput](t)(api.ListClusters(ctx, &ecs.ListClustersInput{MaxResults: aws.Int32(100)}))
	described := must[*ecs.DescribeClustersOutput](t)(api.DescribeClusters(ctx, &ecs.DescribeClustersInput{
		Clusters: clusters.ClusterArns, Include: []ecstypes.ClusterField{ecstypes.ClusterFieldTags}}))
	var targets []string
	for _, cluster := range described.Clusters {
		services := must[*ecs.ListServicesOutput](t)(api.ListServices(ctx, &ecs.ListServicesInput{Cluster: cluster.ClusterArn, MaxResults: aws.Int32(100)}))
		tags := map[string]string{}
		for batch := range slices.Chunk(services.ServiceArns, 10) {
			out := must[*ecs.DescribeServicesOutput](t)(api.DescribeServices(ctx, &ecs.DescribeServicesInput{
				Cluster: cluster.ClusterArn, Services: batch, Include: []ecstypes.ServiceField{ecstypes.ServiceFieldTags}}))
			for _, svc := range out.Services {
				tags[*svc.ServiceName] = ecsTagText(svc.Tags)
			}
		}
		tasks := must[*ecs.ListTasksOutput](t)(api.ListTasks(ctx, &ecs.ListTasksInput{Cluster: cluster.ClusterArn, MaxResults: aws.Int32(100)}))
		if len(tasks.TaskArns) == 0 {
			continue
		}
		out := must[*ecs.DescribeTasksOutput](t)(api.DescribeTasks(ctx, &ecs.DescribeTasksInput{
			Cluster: cluster.ClusterArn, Tasks: tasks.TaskArns, Include: []ecstypes.TaskField{ecstypes.TaskFieldTags}}))
		for _, task := range out.Tasks {
			targets = append(targets, prometheusLabels(t, cluster, task, tags))
		}
	}
	const want = "cluster=prod/ACTIVE/stage=test service=service=web group=service:web FARGATE Linux 1.4.0 us-east-1a RUNNING RUNNING HEALTHY subnet=subnet-local tags=service=web"
	if !slices.Equal(targets, []string{want, want}) {
		t.Errorf("targets\n%s\nwant twice\n%s", strings.Join(targets, "\n"), want)
	}
}

// prometheusLabels are a target's labels in one line, but for its address.
func prometheusLabels(t *testing.T, cluster ecstypes.Cluster, task ecstypes.Task, services map[string]string) string {
	t.Helper()
	details := map[string]string{}
	for _, a := range task.Attachments {
		if *a.Type != "ElasticNetworkInterface" {
			continue
		}
		for _, d := range a.Details {
			details[*d.Name] = *d.Value
		}
	}
	if task.ContainerInstanceArn != nil || details["networkInterfaceId"] != "" {
		t.Errorf("Prometheus would ask EC2 about %s", asJSON(task))
	}
	if !strings.HasPrefix(details["privateIPv4Address"], "127.") {
		t.Errorf("the target's address is %q", details["privateIPv4Address"])
	}
	name := strings.TrimPrefix(*task.Group, "service:")
	return fmt.Sprintf("cluster=%s/%s/%s service=%s group=%s %s %s %s %s %s %s %s subnet=%s tags=%s", *cluster.ClusterName, *cluster.Status, ecsTagText(cluster.Tags),
		services[name], *task.Group, task.LaunchType, *task.PlatformFamily, *task.PlatformVersion, *task.AvailabilityZone, *task.LastStatus, *task.DesiredStatus,
		task.HealthStatus, details["subnetId"], ecsTagText(task.Tags))
}

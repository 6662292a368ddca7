package clients

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestPrometheus makes the calls of Prometheus's ECS service discovery and reads what becomes its labels. A failed call
// to EC2 would drop all targets of a cluster, so no answer may contain something for which it calls EC2.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "process")
	createFargateService(s, "prod")
	api, ctx := s.ECSWithoutRetries(), t.Context()
	// Prometheus checks its credentials with this call
	harness.Must(api.DescribeClusters(ctx, &ecs.DescribeClustersInput{}))(t)

	clusters := harness.Must(api.ListClusters(ctx, &ecs.ListClustersInput{MaxResults: aws.Int32(100)}))(t)
	described := harness.Must(api.DescribeClusters(ctx, &ecs.DescribeClustersInput{
		Clusters: clusters.ClusterArns, Include: []ecstypes.ClusterField{ecstypes.ClusterFieldTags}}))(t)
	var targets []string
	for _, cluster := range described.Clusters {
		services := harness.Must(api.ListServices(ctx, &ecs.ListServicesInput{Cluster: cluster.ClusterArn,
			MaxResults: aws.Int32(100)}))(t)
		tags := map[string]string{}
		for batch := range slices.Chunk(services.ServiceArns, 10) {
			out := harness.Must(api.DescribeServices(ctx, &ecs.DescribeServicesInput{
				Cluster: cluster.ClusterArn, Services: batch, Include: []ecstypes.ServiceField{
					ecstypes.ServiceFieldTags}}))(t)
			for _, svc := range out.Services {
				tags[*svc.ServiceName] = ecsTagText(svc.Tags)
			}
		}
		tasks := harness.Must(api.ListTasks(ctx, &ecs.ListTasksInput{Cluster: cluster.ClusterArn,
			MaxResults: aws.Int32(100)}))(t)
		if len(tasks.TaskArns) == 0 {
			continue
		}
		out := harness.Must(api.DescribeTasks(ctx, &ecs.DescribeTasksInput{
			Cluster: cluster.ClusterArn, Tasks: tasks.TaskArns, Include: []ecstypes.TaskField{
				ecstypes.TaskFieldTags}}))(t)
		for _, task := range out.Tasks {
			targets = append(targets, prometheusLabels(t, cluster, task, tags))
		}
	}
	const want = "cluster=prod/ACTIVE/stage=test service=service=web group=service:web FARGATE Linux 1.4.0 " +
		"us-east-1a RUNNING RUNNING HEALTHY subnet=subnet-local tags=service=web"
	if !slices.Equal(targets, []string{want, want}) {
		t.Errorf("the targets are\n%s\nwant twice\n%s", strings.Join(targets, "\n"), want)
	}
}

// prometheusLabels returns a target's labels except its address, as one line.
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
		t.Errorf("Prometheus would call EC2 for %s", harness.AsJSON(task))
	}
	if !strings.HasPrefix(details["privateIPv4Address"], "127.") {
		t.Errorf("the target's address is %q", details["privateIPv4Address"])
	}
	name := strings.TrimPrefix(*task.Group, "service:")
	return fmt.Sprintf("cluster=%s/%s/%s service=%s group=%s %s %s %s %s %s %s %s subnet=%s tags=%s",
		*cluster.ClusterName, *cluster.Status, ecsTagText(cluster.Tags),
		services[name], *task.Group, task.LaunchType, *task.PlatformFamily, *task.PlatformVersion,
		*task.AvailabilityZone,
		*task.LastStatus, *task.DesiredStatus,
		task.HealthStatus, details["subnetId"], ecsTagText(task.Tags))
}

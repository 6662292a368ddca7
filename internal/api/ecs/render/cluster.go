package render

import (
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/api/ecs/servicespec"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// Cluster returns a cluster that has this number of active container instances. The lists that include does not name
// are empty, and the other members that it does not name are absent.
func Cluster(r store.Reader, c *task.Cluster, instances int, include ...types.ClusterField) (*types.Cluster, error) {
	request, err := codec.Decode[sdk.CreateClusterInput]("cluster "+c.Name, c.Sent)
	if err != nil {
		return nil, err
	}
	counts := countCluster(r, c)
	view := &types.Cluster{
		ClusterArn:                        aws.String(c.ARN()),
		ClusterName:                       aws.String(c.Name),
		Status:                            aws.String(c.Status),
		RunningTasksCount:                 counts.sum(runningTasks),
		PendingTasksCount:                 counts.sum(pendingTasks),
		ActiveServicesCount:               counts.sum(activeServices),
		RegisteredContainerInstancesCount: int32(instances),
		Statistics:                        []types.KeyValuePair{},
		Tags:                              []types.Tag{},
		Settings:                          []types.ClusterSetting{},
		CapacityProviders:                 codec.OrEmpty(c.Providers),
		DefaultCapacityProviderStrategy:   codec.OrEmpty(servicespec.RenderStrategy(c.Strategy)),
	}
	if c.Associated {
		view.AttachmentsStatus = aws.String("UPDATE_COMPLETE")
	}
	if slices.Contains(include, types.ClusterFieldAttachments) {
		view.Attachments = []types.Attachment{}
	}
	if slices.Contains(include, types.ClusterFieldStatistics) {
		view.Statistics = counts.statistics()
	}
	if slices.Contains(include, types.ClusterFieldTags) {
		view.Tags = Tags(c.Tags)
	}
	if slices.Contains(include, types.ClusterFieldSettings) {
		view.Settings = request.Settings
		if len(view.Settings) == 0 {
			view.Settings = []types.ClusterSetting{{
				Name: types.ClusterSettingNameContainerInsights, Value: aws.String("disabled"),
			}}
		}
	}
	if slices.Contains(include, types.ClusterFieldConfigurations) {
		view.Configuration = request.Configuration
	}
	return view, nil
}

// counted is a subject of a cluster's statistics.
type counted int

const (
	runningTasks counted = iota
	pendingTasks
	activeServices
	drainingServices
)

// clusterCounts counts the tasks and services of a cluster.
type clusterCounts map[countKey]int32

type countKey struct {
	what       counted
	launchType string
}

func countCluster(r store.Reader, c *task.Cluster) clusterCounts {
	counts := clusterCounts{}
	launchTypes := NewLaunchTypes(r)
	task.ScanServices(r, c.Ref(), "", func(s *task.Service) bool {
		switch s.Status {
		case task.Active:
			counts[countKey{activeServices, s.LaunchType}]++
		case task.DrainingStatus:
			counts[countKey{drainingServices, s.LaunchType}]++
		}
		return true
	})
	task.ScanTasks(r, c.Ref(), "", func(t *task.Task) bool {
		launchType := string(launchTypes.Of(t))
		switch state := t.Observed.State; { // the observed state counts, whatever the desired state is
		case state == task.Running:
			counts[countKey{runningTasks, launchType}]++
		case state < task.Running:
			counts[countKey{pendingTasks, launchType}]++
		}
		return true
	})
	return counts
}

// sum returns a count of all launch types.
func (c clusterCounts) sum(what counted) int32 {
	return c[countKey{what, task.EC2}] + c[countKey{what, task.Fargate}] + c[countKey{what, task.External}]
}

// statistics returns the counts by the names that DescribeClusters gives them.
func (c clusterCounts) statistics() []types.KeyValuePair {
	var view []types.KeyValuePair
	for _, row := range []struct {
		what       counted
		name, noun string
	}{
		{runningTasks, "running", "TasksCount"},
		{pendingTasks, "pending", "TasksCount"},
		{activeServices, "active", "ServiceCount"},
		{drainingServices, "draining", "ServiceCount"},
	} {
		for _, launch := range []struct{ launchType, name string }{
			{task.EC2, "EC2"}, {task.Fargate, "Fargate"}, {task.External, "External"},
		} {
			view = append(view, types.KeyValuePair{
				Name:  aws.String(row.name + launch.name + row.noun),
				Value: aws.String(strconv.Itoa(int(c[countKey{row.what, launch.launchType}]))),
			})
		}
	}
	return view
}

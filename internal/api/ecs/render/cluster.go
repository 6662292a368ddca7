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

// Cluster is a cluster with what include asks for; the lists that it does not ask for are empty, the
// rest is absent.
func Cluster(r store.Reader, c *task.Cluster, instances int, include ...types.ClusterField) (*types.Cluster, error) {
	sent, err := codec.Decode[sdk.CreateClusterInput]("cluster "+c.Name, c.Sent)
	if err != nil {
		return nil, err
	}
	n := countCluster(r, c)
	view := &types.Cluster{
		ClusterArn:                        aws.String(c.ARN()),
		ClusterName:                       aws.String(c.Name),
		Status:                            aws.String(c.Status),
		RunningTasksCount:                 n.sum("running"),
		PendingTasksCount:                 n.sum("pending"),
		ActiveServicesCount:               n.sum("active"),
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
		view.Statistics = n.statistics()
	}
	if slices.Contains(include, types.ClusterFieldTags) {
		view.Tags = Tags(c.Tags)
	}
	if slices.Contains(include, types.ClusterFieldSettings) {
		view.Settings = sent.Settings
		if len(view.Settings) == 0 {
			view.Settings = []types.ClusterSetting{{Name: types.ClusterSettingNameContainerInsights, Value: aws.String("disabled")}}
		}
	}
	if slices.Contains(include, types.ClusterFieldConfigurations) {
		view.Configuration = sent.Configuration
	}
	return view, nil
}

// tally counts what a cluster holds, by what it is doing and its launch type.
type tally map[tallied]int32

type tallied struct{ what, launchType string } // what: running, pending (tasks), active, draining (services)

func countCluster(r store.Reader, c *task.Cluster) tally {
	n := tally{}
	launches := NewLaunchTypes(r)
	task.ScanServices(r, c.Ref(), "", func(s *task.Service) bool {
		switch s.Status {
		case task.Active:
			n[tallied{"active", s.LaunchType}]++
		case task.DrainingStatus:
			n[tallied{"draining", s.LaunchType}]++
		}
		return true
	})
	task.ScanTasks(r, c.Ref(), "", func(t *task.Task) bool {
		launchType := string(launches.Of(t))
		switch state := t.Observed.State; { // by the last status, whatever is wanted
		case state == task.Running:
			n[tallied{"running", launchType}]++
		case state < task.Running:
			n[tallied{"pending", launchType}]++
		}
		return true
	})
	return n
}

// sum is over the launch types.
func (n tally) sum(what string) int32 {
	return n[tallied{what, task.EC2}] + n[tallied{what, task.Fargate}] + n[tallied{what, task.External}]
}

// statistics are the counts as DescribeClusters names them.
func (n tally) statistics() []types.KeyValuePair {
	var view []types.KeyValuePair
	for _, what := range []struct{ what, noun string }{
		{"running", "TasksCount"}, {"pending", "TasksCount"}, {"active", "ServiceCount"}, {"draining", "ServiceCount"},
	} {
		for _, launch := range []struct{ launchType, name string }{
			{task.EC2, "EC2"}, {task.Fargate, "Fargate"}, {task.External, "External"},
		} {
			view = append(view, types.KeyValuePair{
				Name:  aws.String(what.what + launch.name + what.noun),
				Value: aws.String(strconv.Itoa(int(n[tallied{what.what, launch.launchType}]))),
			})
		}
	}
	return view
}

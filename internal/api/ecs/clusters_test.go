package ecs_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// listClusters returns the names of all clusters, which it reads one to a page.
func (api *testAPI) listClusters() string {
	api.t.Helper()
	var names []string
	pages := sdk.NewListClustersPaginator(api, &sdk.ListClustersInput{MaxResults: aws.Int32(1)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(api.t.Context())
		if err != nil {
			api.t.Fatal(err)
		}
		for _, arn := range page.ClusterArns {
			names = append(names, strings.TrimPrefix(arn, arns+"cluster/"))
		}
	}
	return strings.Join(names, " ")
}

// TestDefaultCluster checks that the default cluster can be described before its first use, which creates it.
func TestDefaultCluster(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.createCluster("zz")
	if got := apitest.Must(api.DescribeClusters(ctx, &sdk.DescribeClustersInput{}))(t); len(got.Clusters) != 1 ||
		*got.Clusters[0].ClusterName != "default" || *got.Clusters[0].Status != "ACTIVE" {
		t.Fatalf("DescribeClusters without names = %v", got)
	}
	if got := api.listClusters(); got != "default zz" {
		t.Errorf("clusters before the first use: %s", got)
	}
	if services := apitest.Must(api.ListServices(ctx, &sdk.ListServicesInput{}))(t); len(services.ServiceArns) != 0 {
		t.Errorf("the unused default cluster has services %v", services.ServiceArns)
	}
	api.createService("default", "web")
	if got := api.listClusters(); got != "default zz" {
		t.Errorf("clusters after the first use: %s", got)
	}
	other := api.client(apitest.InRegion("us-west-2"))
	deleted := apitest.Must(other.DeleteCluster(ctx, &sdk.DeleteClusterInput{Cluster: aws.String("default")}))(t)
	if *deleted.Cluster.Status != "INACTIVE" {
		t.Errorf("DeleteCluster default in another region: %s", *deleted.Cluster.Status)
	}
	wantError(other.ListServices(ctx, &sdk.ListServicesInput{}))(t,
		"ClusterNotFound: The referenced cluster was inactive.")
}

func TestClusters(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	in := &sdk.CreateClusterInput{
		ClusterName: aws.String("prod"),
		Settings:    []types.ClusterSetting{{Name: types.ClusterSettingNameContainerInsights, Value: aws.String("enabled")}},
		Configuration: &types.ClusterConfiguration{ExecuteCommandConfiguration: &types.ExecuteCommandConfiguration{
			Logging: types.ExecuteCommandLoggingNone,
		}},
		Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}},
	}
	apitest.Must(api.CreateCluster(ctx, in))(t)
	api.update(func(tx *store.Tx) error {
		task.PutNode(tx, task.Node{Name: "node-1", Runtime: "process"})
		task.CreateTask(tx, task.Task{Account: account, Region: region, Cluster: "prod", ID: task.NewID(), Family: "job",
			Revision: 1, Observed: task.Observed{State: task.Running}})
		return nil
	})
	api.createService("prod", "web")

	again := apitest.Must(api.CreateCluster(ctx, &sdk.CreateClusterInput{ClusterName: aws.String("prod")}))(t)
	if *again.Cluster.ClusterArn != arns+"cluster/prod" || len(again.Cluster.Tags) != 1 {
		t.Errorf("CreateCluster of an active cluster = %v, want it unchanged", again.Cluster)
	}

	got := apitest.Must(api.DescribeClusters(ctx, &sdk.DescribeClustersInput{
		Clusters: []string{"prod", arns + "cluster/none", "lost"}}))(t)
	want := []types.Cluster{{
		ClusterArn: aws.String(arns + "cluster/prod"), ClusterName: aws.String("prod"), Status: aws.String("ACTIVE"),
		ActiveServicesCount: 1, RunningTasksCount: 1, RegisteredContainerInstancesCount: 1,
		Statistics: []types.KeyValuePair{}, Tags: []types.Tag{}, Settings: []types.ClusterSetting{},
		CapacityProviders: []string{}, DefaultCapacityProviderStrategy: []types.CapacityProviderStrategyItem{},
	}}
	if d := diff(want, got.Clusters); d != "" {
		t.Errorf("DescribeClusters (-want +got):\n%s", d)
	}
	failures := []types.Failure{
		{Arn: aws.String(arns + "cluster/none"), Reason: aws.String("MISSING")},
		{Arn: aws.String(arns + "cluster/lost"), Reason: aws.String("MISSING")},
	}
	if d := diff(failures, got.Failures); d != "" {
		t.Errorf("failures (-want +got):\n%s", d)
	}

	c := apitest.Must(api.DescribeClusters(ctx, &sdk.DescribeClustersInput{Clusters: []string{"prod"},
		Include: types.ClusterField("").Values()}))(t).Clusters[0]
	if d := diff(in.Settings, c.Settings) + diff(in.Tags, c.Tags) + diff(in.Configuration, c.Configuration); d != "" {
		t.Errorf("included fields (-want +got):\n%s", d)
	}
	for _, want := range []string{"runningEC2TasksCount 1", "activeEC2ServiceCount 1", "activeFargateServiceCount 0",
		"drainingEC2ServiceCount 0"} {
		if !slices.ContainsFunc(c.Statistics, func(s types.KeyValuePair) bool { return *s.Name+" "+*s.Value == want }) {
			t.Errorf("the statistics do not contain %s", want)
		}
	}
}

// TestUpdateCluster checks that members of an update replace the stored ones, and that absent members keep them.
func TestUpdateCluster(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	insights := func(value string) []types.ClusterSetting {
		return []types.ClusterSetting{{Name: "containerInsights", Value: &value}}
	}
	logging := func(how types.ExecuteCommandLogging) *types.ClusterConfiguration {
		return &types.ClusterConfiguration{ExecuteCommandConfiguration: &types.ExecuteCommandConfiguration{Logging: how}}
	}
	shown := func(cluster string) string {
		t.Helper()
		c := apitest.Must(api.DescribeClusters(ctx, &sdk.DescribeClustersInput{Clusters: []string{cluster},
			Include: []types.ClusterField{"SETTINGS", "CONFIGURATIONS", "ATTACHMENTS"}}))(t).Clusters[0]
		s := *c.Settings[0].Value
		if c.Configuration != nil {
			s += " " + string(c.Configuration.ExecuteCommandConfiguration.Logging)
		}
		return s
	}
	api.createCluster("prod")
	apitest.Must(api.UpdateCluster(ctx, &sdk.UpdateClusterInput{
		Cluster: aws.String("prod"), Configuration: logging("NONE"),
		ServiceConnectDefaults: &types.ClusterServiceConnectDefaultsRequest{Namespace: aws.String("")},
	}))(t)
	if got := shown("prod"); got != "disabled NONE" {
		t.Errorf("cluster after the update of the configuration: %s", got)
	}
	changed := apitest.Must(api.UpdateCluster(ctx, &sdk.UpdateClusterInput{
		Cluster: aws.String(arns + "cluster/prod"), Settings: insights("enhanced"),
	}))(t)
	if c := changed.Cluster; *c.Settings[0].Value != "enhanced" || c.Configuration == nil {
		t.Errorf("answer of UpdateCluster: %v", c)
	}
	apitest.Must(api.UpdateClusterSettings(ctx, &sdk.UpdateClusterSettingsInput{Cluster: aws.String("prod"),
		Settings: insights("enabled")}))(t)
	if got := shown("prod"); got != "enabled NONE" {
		t.Errorf("cluster after the update of the settings: %s", got)
	}
	apitest.Must(api.UpdateClusterSettings(ctx, &sdk.UpdateClusterSettingsInput{Cluster: aws.String("default"),
		Settings: insights("enabled")}))(t)
	if got := shown("default"); got != "enabled" {
		t.Errorf("default cluster after the update, its first use: %s", got)
	}
	apitest.Must(api.PutAccountSetting(ctx, &sdk.PutAccountSettingInput{Name: "containerInsights",
		Value: aws.String("enhanced")}))(t)
	api.createCluster("later")
	if got := shown("later"); got != "enhanced" {
		t.Errorf("cluster created after the account setting: %s", got)
	}
	for _, tc := range []struct {
		want string
		in   sdk.UpdateClusterInput
	}{
		{"ClusterNotFound: Cluster not found.", sdk.UpdateClusterInput{Cluster: aws.String("none")}},
		{"InvalidParameter: containerInsights should be one of...",
			sdk.UpdateClusterInput{Cluster: aws.String("prod"), Settings: insights("on")}},
		{"UnsupportedFeature: Service Connect is not supported...",
			sdk.UpdateClusterInput{Cluster: aws.String("prod"),
				ServiceConnectDefaults: &types.ClusterServiceConnectDefaultsRequest{Namespace: aws.String("n")}}},
	} {
		wantError(api.UpdateCluster(ctx, &tc.in))(t, tc.want)
	}
	wantError(api.UpdateClusterSettings(ctx, &sdk.UpdateClusterSettingsInput{Cluster: aws.String("prod"),
		Settings: []types.ClusterSetting{}}))(t, "InvalidParameter: Settings cannot be empty.")
}

func TestDeleteCluster(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.createCluster("prod")
	api.createService("prod", "web")
	id := task.NewID()
	remove := func() (*sdk.DeleteClusterOutput, error) {
		return api.DeleteCluster(ctx, &sdk.DeleteClusterInput{Cluster: aws.String("prod")})
	}
	wantError(remove())(t, "ClusterContainsServices: The Cluster cannot be deleted while Services are active.")

	api.update(func(tx *store.Tx) error {
		task.CreateTask(tx, task.Task{Account: account, Region: region, Cluster: "prod", ID: id, Service: "web",
			Family: "web", Revision: 1})
		svc, _ := task.FindService(tx, task.ServiceRef{Scope: api.sc, Cluster: "prod", Name: "web"})
		gone := *svc
		gone.Status = task.Inactive
		task.PutService(tx, gone)
		return nil
	})
	wantError(remove())(t, "ClusterContainsTasks: The Cluster cannot be deleted while Tasks are active.")

	api.update(func(tx *store.Tx) error {
		return task.UpdateTask(tx, task.Ref{Scope: api.sc, Cluster: "prod", ID: id},
			func(t *task.Task) bool { t.Observed.State = task.Stopped; return true })
	})
	for range 2 { // the repeated call returns the same answer
		out := apitest.Must(remove())(t)
		if *out.Cluster.Status != "INACTIVE" {
			t.Errorf("DeleteCluster: status %s", *out.Cluster.Status)
		}
	}
	if got := api.listClusters(); got != "default" {
		t.Errorf("ListClusters = %s", got)
	}
	wantError(api.CreateService(ctx, &sdk.CreateServiceInput{
		Cluster: aws.String("prod"), ServiceName: aws.String("late"), TaskDefinition: aws.String("web"),
		DesiredCount: aws.Int32(1),
	}))(t, "ClusterNotFound: The referenced cluster was inactive.")
	api.createCluster("prod")
	if got := api.listClusters(); got != "default prod" {
		t.Errorf("ListClusters after the cluster was created again = %s", got)
	}
}

func TestClusterRules(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	for _, tc := range []struct {
		name string
		in   sdk.CreateClusterInput
		want string
	}{
		{"name", sdk.CreateClusterInput{ClusterName: aws.String("a b")}, "InvalidParameter: Invalid cluster name..."},
		{"setting", sdk.CreateClusterInput{Settings: []types.ClusterSetting{{Name: "x", Value: aws.String("enabled")}}},
			"InvalidParameter: setting name should be one of [containerInsights]"},
		{"value", sdk.CreateClusterInput{Settings: []types.ClusterSetting{{Name: "containerInsights",
			Value: aws.String("on")}}},
			"InvalidParameter: containerInsights should be one of [enabled,disabled,enhanced]..."},
		{"providers", sdk.CreateClusterInput{CapacityProviders: []string{"none"}},
			"InvalidParameter: The specified capacity provider none was not found..."},
		{"strategy", sdk.CreateClusterInput{DefaultCapacityProviderStrategy: strategy("FARGATE:1")},
			"InvalidParameter: The specified capacity provider strategy cannot contain a capacity provider that is " +
				"not associated..."},
		{"Service Connect", sdk.CreateClusterInput{ServiceConnectDefaults: &types.ClusterServiceConnectDefaultsRequest{
			Namespace: aws.String("n")}}, "UnsupportedFeature: Service Connect is not supported..."},
		{"logs without override", sdk.CreateClusterInput{Configuration: &types.ClusterConfiguration{
			ExecuteCommandConfiguration: &types.ExecuteCommandConfiguration{
				LogConfiguration: &types.ExecuteCommandLogConfiguration{},
			}}}, "InvalidParameter: You must set logging to 'OVERRIDE' when you supply a log configuration"},
		{"override without logs", sdk.CreateClusterInput{Configuration: &types.ClusterConfiguration{
			ExecuteCommandConfiguration: &types.ExecuteCommandConfiguration{
				Logging: types.ExecuteCommandLoggingOverride,
			}}}, "InvalidParameter: A CloudWatch log group name or S3 bucket name must be specified when overriding..."},
		{"reserved tag", sdk.CreateClusterInput{Tags: []types.Tag{{Key: aws.String("AWS:x")}}},
			"InvalidParameter: The tag AWS:x begins with aws:..."},
		{"tag twice", sdk.CreateClusterInput{Tags: []types.Tag{{Key: aws.String("x")}, {Key: aws.String("x")}}},
			"InvalidParameter: The tag x is given twice"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantError(api.CreateCluster(ctx, &tc.in))(t, tc.want)
		})
	}
	wantError(api.DescribeClusters(ctx, &sdk.DescribeClustersInput{Clusters: []string{arns + "service/a/b"}}))(t,
		"InvalidParameter: Invalid identifier...")
	wantError(api.ListClusters(ctx, &sdk.ListClustersInput{NextToken: aws.String("AAAA")}))(t,
		"InvalidParameter: Invalid token...")
	wantError(api.ListClusters(ctx, &sdk.ListClustersInput{MaxResults: aws.Int32(101)}))(t,
		"InvalidParameter: maxResults must be between 1 and 100")
}

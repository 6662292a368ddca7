package ecs_test

import (
	"fmt"
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

// strategy parses a strategy written as "FARGATE:1+2 own:3": the weight and the base of each capacity provider.
func strategy(s string) []types.CapacityProviderStrategyItem {
	items := []types.CapacityProviderStrategyItem{}
	for _, field := range strings.Fields(s) {
		name, numbers, _ := strings.Cut(field, ":")
		item := types.CapacityProviderStrategyItem{CapacityProvider: &name}
		fmt.Sscanf(numbers, "%d+%d", &item.Weight, &item.Base)
		items = append(items, item)
	}
	return items
}

// createProvider creates a capacity provider of an Auto Scaling group.
func (api *testAPI) createProvider(name string) {
	api.t.Helper()
	apitest.Must(api.CreateCapacityProvider(api.t.Context(), &sdk.CreateCapacityProviderInput{
		Name: &name, AutoScalingGroupProvider: &types.AutoScalingGroupProvider{
			AutoScalingGroupArn: aws.String("arn:aws:autoscaling:g")}, Tags: tagged("a=1"),
	}))(api.t)
}

// putProviders sets the capacity providers and the default strategy of the cluster "prod".
func (api *testAPI) putProviders(providers, defaults string) (*sdk.PutClusterCapacityProvidersOutput, error) {
	return api.PutClusterCapacityProviders(api.t.Context(), &sdk.PutClusterCapacityProvidersInput{
		Cluster: aws.String("prod"), CapacityProviders: append([]string{}, strings.Fields(providers)...),
		DefaultCapacityProviderStrategy: strategy(defaults),
	})
}

func TestCapacityProviders(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.createProvider("own")
	names := func(in sdk.DescribeCapacityProvidersInput) string {
		t.Helper()
		var names []string
		for {
			out := apitest.Must(api.DescribeCapacityProviders(ctx, &in))(t)
			for _, p := range out.CapacityProviders {
				names = append(names, fmt.Sprintf("%s/%s/%s", *p.Name, p.Status, p.Type))
			}
			for _, f := range out.Failures {
				names = append(names, *f.Arn+"/"+*f.Reason)
			}
			if in.NextToken = out.NextToken; in.NextToken == nil {
				return strings.Join(names, " ")
			}
		}
	}
	const all = "FARGATE/ACTIVE/FARGATE FARGATE_SPOT/ACTIVE/FARGATE_SPOT own/ACTIVE/EC2_AUTOSCALING"
	if got := names(sdk.DescribeCapacityProvidersInput{}); got != all {
		t.Errorf("all capacity providers: %s", got)
	}
	if got := names(sdk.DescribeCapacityProvidersInput{MaxResults: aws.Int32(1)}); got != all {
		t.Errorf("all capacity providers, page by page: %s", got)
	}
	got := names(sdk.DescribeCapacityProvidersInput{
		CapacityProviders: []string{arns + "capacity-provider/own", "FARGATE", "x"},
	})
	if got != "own/ACTIVE/EC2_AUTOSCALING FARGATE/ACTIVE/FARGATE "+arns+"capacity-provider/x/MISSING" {
		t.Errorf("capacity providers by name and ARN: %s", got)
	}

	apitest.Must(api.UpdateCapacityProvider(ctx, &sdk.UpdateCapacityProviderInput{Name: aws.String("own"),
		AutoScalingGroupProvider: &types.AutoScalingGroupProviderUpdate{
			ManagedScaling: &types.ManagedScaling{Status: "ENABLED", TargetCapacity: aws.Int32(80)},
		}}))(t)
	read := apitest.Must(api.DescribeCapacityProviders(ctx, &sdk.DescribeCapacityProvidersInput{
		CapacityProviders: []string{"own"}, Include: []types.CapacityProviderField{"TAGS"}}))(t)
	want := types.CapacityProvider{
		CapacityProviderArn: aws.String(arns + "capacity-provider/own"), Name: aws.String("own"), Status: "ACTIVE",
		UpdateStatus: "UPDATE_COMPLETE",
		Type:         "EC2_AUTOSCALING", Tags: tagged("a=1"), AutoScalingGroupProvider: &types.AutoScalingGroupProvider{
			AutoScalingGroupArn: aws.String("arn:aws:autoscaling:g"), ManagedDraining: "ENABLED",
			ManagedTerminationProtection: "DISABLED",
			ManagedScaling: &types.ManagedScaling{Status: "ENABLED", TargetCapacity: aws.Int32(80),
				MinimumScalingStepSize: aws.Int32(1),
				MaximumScalingStepSize: aws.Int32(10000), InstanceWarmupPeriod: aws.Int32(300)},
		},
	}
	if d := diff(want, read.CapacityProviders[0]); d != "" {
		t.Errorf("after the update (-want +got):\n%s", d)
	}

	api.createCluster("prod")
	put := apitest.Must(api.putProviders("FARGATE own "+arns+"capacity-provider/own", "own:1"))(t)
	c := put.Cluster
	if s := fmt.Sprintln(c.CapacityProviders, *c.DefaultCapacityProviderStrategy[0].CapacityProvider,
		*c.AttachmentsStatus); s != "[FARGATE own] own UPDATE_COMPLETE\n" {
		t.Errorf("capacity providers, strategy and attachments of the cluster: %s", s)
	}
	got = names(sdk.DescribeCapacityProvidersInput{Cluster: aws.String("prod")})
	if got != "FARGATE/ACTIVE/FARGATE own/ACTIVE/EC2_AUTOSCALING" {
		t.Errorf("capacity providers of the cluster: %s", got)
	}
	remove := func(name string) (*sdk.DeleteCapacityProviderOutput, error) {
		return api.DeleteCapacityProvider(ctx, &sdk.DeleteCapacityProviderInput{CapacityProvider: &name})
	}
	wantError(remove("own"))(t, "Client: The capacity provider own is associated with the cluster prod...")
	put = apitest.Must(api.putProviders("", ""))(t)
	if c := put.Cluster; len(c.CapacityProviders)+len(c.DefaultCapacityProviderStrategy) != 0 ||
		*c.AttachmentsStatus != "UPDATE_COMPLETE" {
		t.Errorf("cluster after its capacity providers and strategy were removed: %v", c)
	}
	deleted := apitest.Must(remove("own"))(t)
	if p := deleted.CapacityProvider; p.Status != "INACTIVE" || p.UpdateStatus != "DELETE_COMPLETE" {
		t.Errorf("deleted capacity provider: status %s, update status %s", p.Status, p.UpdateStatus)
	}
	wantError(remove("own"))(t, "InvalidParameter: The specified capacity provider own was not found...")
	wantError(remove("FARGATE"))(t, "InvalidParameter: The capacity provider FARGATE is predefined...")
}

func TestCapacityProviderRules(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.createProvider("own")
	group := func(edit func(*types.AutoScalingGroupProvider)) *types.AutoScalingGroupProvider {
		p := &types.AutoScalingGroupProvider{AutoScalingGroupArn: aws.String("arn:aws:autoscaling:g")}
		if edit != nil {
			edit(p)
		}
		return p
	}
	for _, tc := range []struct {
		name, want string
		p          *types.AutoScalingGroupProvider
	}{
		{"ecs-own", "InvalidParameter: The specified capacity provider name is invalid...", group(nil)},
		{"Fargate2", "InvalidParameter: The specified capacity provider name is invalid...", group(nil)},
		{"a b", "InvalidParameter: The specified capacity provider name is invalid...", group(nil)},
		{"own", "InvalidParameter: The specified capacity provider own already exists...", group(nil)},
		{"other", "InvalidParameter: The autoScalingGroupProvider of a capacity provider must have...", nil},
		{"other", "InvalidParameter: targetCapacity must be between 1 and 100",
			group(func(p *types.AutoScalingGroupProvider) {
				p.ManagedScaling = &types.ManagedScaling{TargetCapacity: aws.Int32(101)}
			})},
		{"other", "InvalidParameter: managedDraining should be one of [ENABLED,DISABLED]",
			group(func(p *types.AutoScalingGroupProvider) { p.ManagedDraining = "SOON" })},
	} {
		wantError(api.CreateCapacityProvider(ctx, &sdk.CreateCapacityProviderInput{Name: &tc.name,
			AutoScalingGroupProvider: tc.p}))(t, tc.want)
	}
	wantError(api.CreateCapacityProvider(ctx, &sdk.CreateCapacityProviderInput{Name: aws.String("other"),
		ManagedInstancesProvider: &types.CreateManagedInstancesProviderConfiguration{
			InfrastructureRoleArn: aws.String("r"), InstanceLaunchTemplate: &types.InstanceLaunchTemplate{
				Ec2InstanceProfileArn: aws.String("p"), NetworkConfiguration: &types.ManagedInstancesNetworkConfiguration{},
			},
		}}))(t, "UnsupportedFeature: Managed instances are not supported...")

	api.createCluster("prod")
	for _, tc := range []struct{ providers, defaults, want string }{
		{"none", "", "InvalidParameter: The specified capacity provider none was not found..."},
		{"FARGATE", "own:1",
			"InvalidParameter: The specified capacity provider strategy cannot contain a capacity provider that is " +
				"not associated..."},
		{"FARGATE FARGATE_SPOT", "FARGATE:1+1 FARGATE_SPOT:1+1",
			"InvalidParameter: The specified capacity provider strategy contains multiple capacity providers with " +
				"a base value defined"},
		{"FARGATE", "FARGATE:0",
			"InvalidParameter: There are no capacity providers in the capacity provider strategy with a weight " +
				"value greater than zero"},
		{"FARGATE", "FARGATE:1001", "InvalidParameter: The weight of a capacity provider must be between 0 and 1000."},
		{"FARGATE", "FARGATE:1+100001",
			"InvalidParameter: The base of a capacity provider must be between 0 and 100000."},
		{"FARGATE", "FARGATE:1 FARGATE:1",
			"InvalidParameter: The specified capacity provider strategy contains the capacity provider FARGATE " +
				"more than once."},
		{"FARGATE own", "FARGATE:1 own:1", "InvalidParameter: A capacity provider strategy cannot contain a mix..."},
	} {
		wantError(api.putProviders(tc.providers, tc.defaults))(t, tc.want)
	}
	if c := apitest.Must(api.DescribeClusters(ctx, &sdk.DescribeClustersInput{Clusters: []string{"prod"}}))(
		t).Clusters[0]; len(c.CapacityProviders) != 0 || c.AttachmentsStatus != nil {
		t.Errorf("a rejected request changed the cluster: %v", c)
	}
}

// TestStrategies checks that services and tasks follow the strategy of their request, or else the cluster's, and show
// it instead of a launch type.
func TestStrategies(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.addNode("n1")
	apitest.Must(api.CreateCluster(ctx, &sdk.CreateClusterInput{
		ClusterName: aws.String("prod"), CapacityProviders: []string{"FARGATE", "FARGATE_SPOT"},
		DefaultCapacityProviderStrategy: strategy("FARGATE_SPOT:3 FARGATE:1+1"),
	}))(t)
	apitest.Must(api.RegisterTaskDefinition(ctx, &sdk.RegisterTaskDefinitionInput{
		Family: aws.String("web"), NetworkMode: types.NetworkModeAwsvpc, Cpu: aws.String("256"), Memory: aws.String("512"),
		ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("i")}},
	}))(t)

	ran := apitest.Must(api.RunTask(ctx, &sdk.RunTaskInput{
		Cluster: aws.String("prod"), TaskDefinition: aws.String("web"), Count: aws.Int32(5),
		NetworkConfiguration: awsvpc("s"),
	}))(t)
	var got []string
	for _, tk := range ran.Tasks {
		got = append(got, *tk.CapacityProviderName+"/"+string(tk.LaunchType))
	}
	want := []string{
		"FARGATE/FARGATE", "FARGATE_SPOT/FARGATE", "FARGATE_SPOT/FARGATE", "FARGATE_SPOT/FARGATE", "FARGATE/FARGATE",
	}
	if !slices.Equal(got, want) {
		t.Errorf("tasks with the default strategy: %v, want %v", got, want)
	}

	shown := func() string {
		s := api.describeWeb("prod")
		items := func(strategy []types.CapacityProviderStrategyItem) (all string) {
			for _, i := range strategy {
				all += fmt.Sprintf(" %s:%d+%d", *i.CapacityProvider, i.Weight, i.Base)
			}
			return all
		}
		d := s.Deployments[0]
		return fmt.Sprintf("%s%s %s, deployment %s%s, %d deployments", s.LaunchType, items(s.CapacityProviderStrategy),
			aws.ToString(s.PlatformVersion), d.LaunchType, items(d.CapacityProviderStrategy), len(s.Deployments))
	}
	apitest.Must(api.CreateService(ctx, &sdk.CreateServiceInput{
		Cluster: aws.String("prod"), ServiceName: aws.String("web"), TaskDefinition: aws.String("web"),
		DesiredCount: aws.Int32(1), NetworkConfiguration: awsvpc("s"),
	}))(t)
	const defaults = " FARGATE_SPOT:3+0 FARGATE:1+1 LATEST, deployment  FARGATE_SPOT:3+0 FARGATE:1+1, 1 deployments"
	if s := shown(); s != defaults {
		t.Errorf("service with the default strategy: %s, want %s", s, defaults)
	}
	for _, tc := range []struct{ what, to, want string }{
		{"same strategy in another order", "FARGATE:1+1 FARGATE_SPOT:3",
			" FARGATE:1+1 FARGATE_SPOT:3+0 LATEST, deployment  FARGATE_SPOT:3+0 FARGATE:1+1, 1 deployments"},
		{"other strategy", "FARGATE_SPOT:1", " FARGATE_SPOT:1+0 LATEST, deployment  FARGATE_SPOT:1+0, 2 deployments"},
		{"launch type again", "", "FARGATE LATEST, deployment FARGATE, 3 deployments"},
	} {
		apitest.Must(api.UpdateService(ctx, &sdk.UpdateServiceInput{Cluster: aws.String("prod"), Service: aws.String("web"),
			CapacityProviderStrategy: strategy(tc.to)}))(t)
		if s := shown(); s != tc.want {
			t.Errorf("%s: %s, want %s", tc.what, s, tc.want)
		}
	}
	wantError(api.UpdateService(ctx, &sdk.UpdateServiceInput{Cluster: aws.String("prod"), Service: aws.String("web"),
		CapacityProviderStrategy: strategy("own:1")}))(t,
		"InvalidParameter: The specified capacity provider strategy cannot contain a capacity provider that is "+
			"not associated...")

	wantError(api.putProviders("FARGATE", ""))(t,
		"ResourceInUse: The specified capacity provider is in use and cannot be removed.")
	api.update(func(tx *store.Tx) error { // stop the tasks, and remove the older deployments
		task.ScanTasks(tx, task.ClusterRef{Scope: api.sc, Name: "prod"}, "", func(t *task.Task) bool {
			next := *t
			next.Observed.State = task.Stopped
			task.SetTaskTags(tx, next, nil)
			return true
		})
		svc, _ := task.FindService(tx, task.ServiceRef{Scope: api.sc, Cluster: "prod", Name: "web"})
		next := *svc
		next.Deployments = next.Deployments[:1]
		task.PutService(tx, next)
		return nil
	})
	apitest.Must(api.putProviders("FARGATE", ""))(t)
}

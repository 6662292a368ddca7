package ecs_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/uuid"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

func awsvpc(subnets ...string) *types.NetworkConfiguration {
	return &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: subnets}}
}

// TestCreateService checks that the answer has the members of the request, AWS's defaults and a deployment in progress,
// and that the row, which the control loops read, has the same members.
func TestCreateService(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.createCluster("prod")
	arn := api.createCloudMapService("web", registry.SRV)
	definition := api.registerDefinition("web", types.NetworkModeAwsvpc, 80)
	got := apitest.Must(api.CreateService(ctx, &sdk.CreateServiceInput{
		Cluster: aws.String(arns + "cluster/prod"), ServiceName: aws.String("web"), TaskDefinition: aws.String("web"),
		DesiredCount: aws.Int32(3), NetworkConfiguration: awsvpc("subnet-1", "subnet-2"),
		ServiceRegistries: []types.ServiceRegistry{{RegistryArn: &arn, ContainerName: aws.String("app"),
			ContainerPort: aws.Int32(80)}},
		Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}},
	}))(t).Service
	network := awsvpc("subnet-1", "subnet-2")
	network.AwsvpcConfiguration.AssignPublicIp = types.AssignPublicIpDisabled
	if len(got.Deployments) != 1 {
		t.Fatalf("deployments %v", got.Deployments)
	}
	d := got.Deployments[0]
	want := &types.Service{
		ServiceArn: aws.String(arns + "service/prod/web"), ServiceName: aws.String("web"),
		ClusterArn: aws.String(arns + "cluster/prod"),
		Status:     aws.String("ACTIVE"), DesiredCount: 3, TaskDefinition: &definition, LaunchType: types.LaunchTypeEc2,
		SchedulingStrategy: types.SchedulingStrategyReplica, DeploymentController: &types.DeploymentController{Type: "ECS"},
		DeploymentConfiguration: &types.DeploymentConfiguration{
			MaximumPercent: aws.Int32(200), MinimumHealthyPercent: aws.Int32(100), Strategy: types.DeploymentStrategyRolling,
			BakeTimeInMinutes: aws.Int32(0), DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{},
		},
		HealthCheckGracePeriodSeconds: aws.Int32(0), NetworkConfiguration: network, LoadBalancers: []types.LoadBalancer{},
		ServiceRegistries: []types.ServiceRegistry{{RegistryArn: &arn, ContainerName: aws.String("app"),
			ContainerPort: aws.Int32(80)}},
		PlacementConstraints: []types.PlacementConstraint{}, PlacementStrategy: []types.PlacementStrategy{},
		PropagateTags: types.PropagateTagsNone, AvailabilityZoneRebalancing: types.AvailabilityZoneRebalancingEnabled,
		CurrentServiceDeployment: got.CurrentServiceDeployment,
		CurrentServiceRevisions: []types.ServiceCurrentRevisionSummary{{
			Arn:                aws.String(strings.Replace(*d.Id, "ecs-svc/", arns+"service-revision/prod/web/", 1)),
			RequestedTaskCount: 3,
		}},
		CreatedAt: got.CreatedAt, CreatedBy: aws.String("arn:aws:iam::" + account + ":root"),
		RoleArn: aws.String("arn:aws:iam::" + account + ":role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"),
		Events:  []types.ServiceEvent{}, Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}},
		Deployments: []types.Deployment{{
			Id: d.Id, Status: aws.String("PRIMARY"), TaskDefinition: &definition, DesiredCount: 3, CreatedAt: got.CreatedAt,
			UpdatedAt: got.CreatedAt, LaunchType: types.LaunchTypeEc2, NetworkConfiguration: network,
			RolloutState:       types.DeploymentRolloutStateInProgress,
			RolloutStateReason: aws.String("ECS deployment " + *d.Id + " in progress."),
		}},
	}
	if d := diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if !strings.HasPrefix(aws.ToString(got.CurrentServiceDeployment), arns+"service-deployment/prod/web/") {
		t.Errorf("service deployment of the service: %s", aws.ToString(got.CurrentServiceDeployment))
	}
	if !strings.HasPrefix(*d.Id, "ecs-svc/") {
		t.Errorf("deployment id %s", *d.Id)
	}
	want.Tags = nil
	if d := diff(want, ptr(api.describeWeb("prod"))); d != "" {
		t.Errorf("DescribeServices without TAGS (-want +got):\n%s", d)
	}

	row, _ := task.FindService(api.db.Snapshot(), task.ServiceRef{Scope: api.sc, Cluster: "prod", Name: "web"})
	id := arn[strings.LastIndexByte(arn, '/')+1:]
	if d := diff([]task.Registry{{ARN: arn, ServiceID: id, ContainerName: "app", ContainerPort: 80}},
		row.Primary().Registries); d != "" {
		t.Errorf("registries of the row (-want +got):\n%s", d)
	}
	if d := diff(&task.Network{Subnets: []string{"subnet-1", "subnet-2"}, AssignPublicIP: "DISABLED"},
		row.Primary().Network); d != "" {
		t.Errorf("network of the row (-want +got):\n%s", d)
	}
	if row.DesiredCount != 3 || row.MinimumHealthy != 100 || row.Maximum != 200 || row.Primary().Family != "web" ||
		row.Primary().Revision != 1 {
		t.Errorf("row: %+v", row)
	}
}

func ptr[T any](v T) *T { return &v }

func TestFargateService(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	in := &sdk.CreateServiceInput{
		ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(0),
		LaunchType: types.LaunchTypeFargate, NetworkConfiguration: awsvpc("subnet-1"),
	}
	api.registerDefinition("web", types.NetworkModeAwsvpc) // the task has no cpu and memory, so only EC2 can run it
	wantError(api.CreateService(ctx, in))(t, "InvalidParameter: Task definition does not support launch_type FARGATE.")

	apitest.Must(api.RegisterTaskDefinition(ctx, &sdk.RegisterTaskDefinitionInput{
		Family: aws.String("web"), NetworkMode: types.NetworkModeAwsvpc, Cpu: aws.String("256"), Memory: aws.String("512"),
		ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("i")}},
	}))(t)
	out := apitest.Must(api.CreateService(ctx, in))(t)
	s := out.Service
	if s.LaunchType != types.LaunchTypeFargate || *s.PlatformVersion != "LATEST" || *s.PlatformFamily != "Linux" {
		t.Errorf("service: %s %s %s", s.LaunchType, *s.PlatformVersion, *s.PlatformFamily)
	}
	if d := s.Deployments[0]; *d.PlatformVersion != "1.4.0" || *d.PlatformFamily != "Linux" ||
		d.LaunchType != types.LaunchTypeFargate {
		t.Errorf("deployment: %s %s %s", *d.PlatformVersion, *d.PlatformFamily, d.LaunchType)
	}
}

// TestCreateServiceRules checks the rules that depend on other rows. CreateService applies them in its transaction.
func TestCreateServiceRules(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	arn := api.createCloudMapService("web", registry.A)
	api.registerDefinition("web", types.NetworkModeAwsvpc, 80)
	api.registerDefinition("plain", types.NetworkModeBridge, 80)
	api.registerDefinition("old", types.NetworkModeBridge)
	apitest.Must(api.DeregisterTaskDefinition(ctx, &sdk.DeregisterTaskDefinitionInput{
		TaskDefinition: aws.String("old:1")}))(t)
	registries := func(arns ...string) (s []types.ServiceRegistry) {
		for _, arn := range arns {
			s = append(s, types.ServiceRegistry{RegistryArn: &arn})
		}
		return s
	}
	gone := strings.Replace(arn, "srv-", "srv-x", 1)
	for _, tc := range []struct {
		name, definition string
		edit             func(*sdk.CreateServiceInput)
		want             string
	}{
		{"unknown cluster", "web", func(in *sdk.CreateServiceInput) { in.Cluster = aws.String("none") },
			"ClusterNotFound: Cluster not found."},
		{"cluster of another account", "web", func(in *sdk.CreateServiceInput) {
			in.Cluster = aws.String("arn:aws:ecs:eu-west-1:999999999999:cluster/default")
		}, "ClusterNotFound: Cluster not found."},
		{"unknown definition", "none", nil, "Client: TaskDefinition not found."},
		{"unknown revision", "web:9", nil, "Client: TaskDefinition not found."},
		{"inactive definition", "old:1", nil, "Client: TaskDefinition is inactive"},
		{"awsvpc without a network", "web", nil,
			"InvalidParameter: Network Configuration must be provided when networkMode 'awsvpc' is specified."},
		{"network without awsvpc", "plain", func(in *sdk.CreateServiceInput) { in.NetworkConfiguration = awsvpc("s") },
			"InvalidParameter: Network Configuration is not valid for the given networkMode of this task definition."},
		{"two registries", "plain", func(in *sdk.CreateServiceInput) { in.ServiceRegistries = registries(arn, arn) },
			"InvalidParameter: service registries can have at most 1 items"},
		{"unknown registry", "plain", func(in *sdk.CreateServiceInput) { in.ServiceRegistries = registries(gone) },
			"InvalidParameter: The service registry " + gone + " does not exist. Create the Cloud Map service first."},
		{"registry of another account", "plain", func(in *sdk.CreateServiceInput) {
			in.ServiceRegistries = registries(strings.Replace(arn, region, "us-east-1", 1))
		}, "InvalidParameter: The service registry arn:aws:servicediscovery:us-east-1..."},
		{"registry by name", "plain", func(in *sdk.CreateServiceInput) { in.ServiceRegistries = registries("srv-1") },
			"InvalidParameter: Invalid registryArn..."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := &sdk.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: &tc.definition,
				DesiredCount: aws.Int32(1)}
			if tc.edit != nil {
				tc.edit(in)
			}
			wantError(api.CreateService(ctx, in))(t, tc.want)
		})
	}
	if list := apitest.Must(api.ListServices(ctx, &sdk.ListServicesInput{}))(t); len(list.ServiceArns) != 0 {
		t.Errorf("a rejected request created %v", list.ServiceArns)
	}
}

// TestRepeatedCreation checks that a repeated request returns the same service, and that another request for its name
// is rejected.
func TestRepeatedCreation(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.registerDefinition("web", types.NetworkModeBridge)
	create := func(count int32, token string) (*sdk.CreateServiceOutput, error) {
		in := &sdk.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: &count}
		if token != "" {
			in.ClientToken = &token
		}
		return api.CreateService(ctx, in)
	}
	repeat := func(first *types.Service, token string) {
		t.Helper()
		again := apitest.Must(create(1, token))(t).Service
		if *again.Deployments[0].Id != *first.Deployments[0].Id {
			t.Errorf("the repeated request started the deployment %s", *again.Deployments[0].Id)
		}
	}
	const other = "InvalidParameter: Creation of service was not idempotent."
	scale := func(n int32) {
		apitest.Must(api.UpdateService(ctx, &sdk.UpdateServiceInput{Service: aws.String("web"), DesiredCount: &n}))(t)
	}
	first := apitest.Must(create(1, "t1"))(t).Service
	repeat(first, "t1")
	scale(3)
	repeat(first, "t1") // the service was scaled since, so only the token shows that the request is the same
	for _, tc := range []struct {
		count int32
		token string
	}{{2, "t1"}, {1, "t2"}, {1, ""}} {
		wantError(create(tc.count, tc.token))(t, other)
	}

	apitest.Must(api.DeleteService(ctx, &sdk.DeleteServiceInput{Service: aws.String("web"), Force: aws.Bool(true)}))(t)
	wantError(create(1, "t1"))(t, "InvalidParameter: Unable to Start a service that is still Draining.")
	api.update(func(tx *store.Tx) error {
		svc, _ := task.FindService(tx, task.ServiceRef{Scope: api.sc, Cluster: "default", Name: "web"})
		task.AddEvent(tx, svc, task.Event{ID: uuid.NewString(), Created: api.clock.Now(),
			Message: "has reached a steady state."})
		gone := *svc
		gone.Status = task.Inactive
		task.PutService(tx, gone)
		return nil
	})
	recreated := apitest.Must(create(1, ""))(t).Service
	if *recreated.Deployments[0].Id == *first.Deployments[0].Id || len(recreated.Events) != 0 {
		t.Errorf("the new service with the name of an inactive one has the deployment %s and the events %v",
			*recreated.Deployments[0].Id, recreated.Events)
	}
	repeat(recreated, "")
	scale(3)
	wantError(create(1, ""))(t, other)
}

// TestUpdateService checks which members start a deployment if they differ, and that equal members start none.
func TestUpdateService(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	a, srv := api.createCloudMapService("a", registry.A), api.createCloudMapService("srv", registry.SRV)
	api.registerDefinition("web", types.NetworkModeAwsvpc, 80)
	api.createService("default", "web", func(in *sdk.CreateServiceInput) {
		in.TaskDefinition = aws.String("web:1")
		in.NetworkConfiguration = awsvpc("subnet-1", "subnet-2")
		in.ServiceRegistries = []types.ServiceRegistry{{RegistryArn: &a}}
	})
	// This is the third revision: createService has registered the second one.
	api.registerDefinition("web", types.NetworkModeAwsvpc, 80)
	api.registerDefinition("plain", types.NetworkModeBridge)
	breaker := &types.DeploymentConfiguration{DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true,
		Rollback: true}}
	for _, tc := range []struct {
		name   string
		in     sdk.UpdateServiceInput
		deploy bool
	}{
		{"nothing", sdk.UpdateServiceInput{}, false},
		{"count", sdk.UpdateServiceInput{DesiredCount: aws.Int32(5)}, false},
		{"definition", sdk.UpdateServiceInput{TaskDefinition: aws.String("web:3")}, true},
		{"same definition", sdk.UpdateServiceInput{TaskDefinition: aws.String(arns + "task-definition/web:3")}, false},
		{"latest definition, already deployed", sdk.UpdateServiceInput{TaskDefinition: aws.String("web")}, false},
		{"forced", sdk.UpdateServiceInput{ForceNewDeployment: true}, true},
		{"same network in another order", sdk.UpdateServiceInput{NetworkConfiguration: awsvpc("subnet-2", "subnet-1")},
			false},
		{"network", sdk.UpdateServiceInput{NetworkConfiguration: awsvpc("subnet-3")}, true},
		{"same registry", sdk.UpdateServiceInput{ServiceRegistries: []types.ServiceRegistry{{RegistryArn: &a}}}, false},
		{"registry", sdk.UpdateServiceInput{ServiceRegistries: []types.ServiceRegistry{
			{RegistryArn: &srv, Port: aws.Int32(80)}}}, true},
		{"registry removed", sdk.UpdateServiceInput{ServiceRegistries: []types.ServiceRegistry{}}, true},
		{"no registry to remove", sdk.UpdateServiceInput{ServiceRegistries: []types.ServiceRegistry{}}, false},
		{"percents", sdk.UpdateServiceInput{DeploymentConfiguration: &types.DeploymentConfiguration{
			MaximumPercent: aws.Int32(150)}}, false},
		{"breaker", sdk.UpdateServiceInput{DeploymentConfiguration: breaker}, false},
		{"grace period", sdk.UpdateServiceInput{HealthCheckGracePeriodSeconds: aws.Int32(60)}, false},
		{"placement", sdk.UpdateServiceInput{PlacementConstraints: []types.PlacementConstraint{{Type: "distinctInstance"}}},
			false},
		{"execute command", sdk.UpdateServiceInput{EnableExecuteCommand: aws.Bool(true)}, false},
		{"Service Connect off",
			sdk.UpdateServiceInput{ServiceConnectConfiguration: &types.ServiceConnectConfiguration{}}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := api.describeWeb("default")
			tc.in.Service = aws.String("web")
			got := apitest.Must(api.UpdateService(ctx, &tc.in))(t).Service
			deployed := len(got.Deployments) - len(before.Deployments)
			if deployed != map[bool]int{true: 1}[tc.deploy] {
				t.Fatalf("%d deployments were started", deployed)
			}
			if deployed == 0 && *got.Deployments[0].Id != *before.Deployments[0].Id {
				t.Errorf("the primary deployment has changed")
			}
			if deployed == 1 && (*got.Deployments[0].Status != "PRIMARY" || *got.Deployments[1].Status != "ACTIVE" ||
				*got.Deployments[1].Id != *before.Deployments[0].Id) {
				t.Errorf("the new deployment is not the primary: %v", got.Deployments)
			}
		})
	}
	s := api.describeWeb("default")
	c := s.DeploymentConfiguration
	got := fmt.Sprintf(
		"count %d of %s, %d..%d%%, breaker %v, grace %d, exec %v, network %v, constraints %d, registries %d",
		s.DesiredCount, strings.TrimPrefix(*s.TaskDefinition, arns), *c.MinimumHealthyPercent, *c.MaximumPercent,
		c.DeploymentCircuitBreaker.Enable, *s.HealthCheckGracePeriodSeconds, s.EnableExecuteCommand,
		s.NetworkConfiguration.AwsvpcConfiguration.Subnets, len(s.PlacementConstraints), len(s.ServiceRegistries))
	want := "count 5 of task-definition/web:3, 100..150%, breaker true, grace 60, exec true, network [subnet-3], " +
		"constraints 1, registries 0"
	if got != want {
		t.Errorf("service after all updates\n%s\nwant\n%s", got, want)
	}

	for _, tc := range []struct {
		name, want string
		in         sdk.UpdateServiceInput
	}{
		{"unknown", "ServiceNotFound: Service not found.", sdk.UpdateServiceInput{Service: aws.String("none")}},
		{"count", "InvalidParameter: Task count can not be lesser than 0",
			sdk.UpdateServiceInput{DesiredCount: aws.Int32(-1)}},
		{"other network mode",
			"InvalidParameter: Network Configuration is not valid for the given networkMode of this task definition.",
			sdk.UpdateServiceInput{TaskDefinition: aws.String("plain")}},
		{"registry", "InvalidParameter: When specifying 'awsvpc' for networkMode and a registry with SRV records...",
			sdk.UpdateServiceInput{ServiceRegistries: []types.ServiceRegistry{{RegistryArn: &srv}}}},
		{"percents",
			"InvalidParameter: Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block " +
				"deployments",
			sdk.UpdateServiceInput{DeploymentConfiguration: &types.DeploymentConfiguration{MaximumPercent: aws.Int32(100)}}},
		{"load balancers", "UnsupportedFeature: Load balancers...",
			sdk.UpdateServiceInput{LoadBalancers: []types.LoadBalancer{{ContainerName: aws.String("app")}}}},
		{"cluster mismatch",
			"InvalidParameter: Invalid identifier: Identifier is for cluster prod. Your cluster is default",
			sdk.UpdateServiceInput{Service: aws.String(arns + "service/prod/web")}},
	} {
		t.Run("rejected: "+tc.name, func(t *testing.T) {
			if tc.in.Service == nil {
				tc.in.Service = aws.String("web")
			}
			wantError(api.UpdateService(ctx, &tc.in))(t, tc.want)
		})
	}
	if d := diff(s, api.describeWeb("default")); d != "" {
		t.Errorf("rejected updates changed the service:\n%s", d)
	}
}

// TestInactiveDefinition checks that a service whose task definition has become inactive can still be scaled and
// redeployed.
func TestInactiveDefinition(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.createService("default", "web")
	apitest.Must(api.DeregisterTaskDefinition(ctx, &sdk.DeregisterTaskDefinitionInput{
		TaskDefinition: aws.String("web:1")}))(t)
	apitest.Must(api.UpdateService(ctx, &sdk.UpdateServiceInput{Service: aws.String("web"),
		DesiredCount: aws.Int32(2)}))(t)
	if d := apitest.Must(api.UpdateService(ctx, &sdk.UpdateServiceInput{Service: aws.String("web"),
		ForceNewDeployment: true}))(t).Service.Deployments; len(d) != 2 ||
		*d[0].TaskDefinition != arns+"task-definition/web:1" {
		t.Errorf("forced deployment: %v", d)
	}
	wantError(api.UpdateService(ctx, &sdk.UpdateServiceInput{Service: aws.String("web"),
		TaskDefinition: aws.String("web:1")}))(t, "Client: TaskDefinition is inactive")
}

// TestDescribeServices checks the counts of each deployment, the order of events, and the failures for unknown
// services.
func TestDescribeServices(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	created := api.createService("default", "web")
	old := *created.Deployments[0].Id
	primary := *apitest.Must(api.UpdateService(ctx, &sdk.UpdateServiceInput{Service: aws.String("web"),
		ForceNewDeployment: true}))(t).Service.Deployments[0].Id
	api.update(func(tx *store.Tx) error {
		svc, _ := task.FindService(tx, task.ServiceRef{Scope: api.sc, Cluster: "default", Name: "web"})
		for i, s := range []struct {
			deployment string
			state      task.State
			desired    string
		}{
			{old, task.Running, task.DesiredRunning}, {old, task.Running, task.DesiredStopped},
			{old, task.Stopped, task.DesiredRunning},
			{primary, task.Pending, task.DesiredRunning}, {primary, task.Provisioning, task.DesiredRunning},
			{primary, task.Running, task.DesiredRunning},
		} {
			t := task.Task{Account: account, Region: region, Cluster: "default", ID: task.ID(id(i)), Service: "web",
				Deployment: s.deployment, Family: "web", Revision: 1, Observed: task.Observed{State: s.state}}
			task.CreateTask(tx, t)
			if s.desired == task.DesiredStopped {
				if _, _, err := task.Stop(tx, task.Ref{Scope: api.sc, Cluster: "default", ID: t.ID},
					task.StopCause{Code: task.UserInitiated}, epoch); err != nil {
					return err
				}
			}
		}
		for _, message := range []string{"first", "second"} {
			task.AddEvent(tx, svc, task.Event{ID: uuid.NewString(), Created: api.clock.Now(), Message: message})
		}
		return nil
	})
	out := apitest.Must(api.DescribeServices(ctx, &sdk.DescribeServicesInput{
		Services: []string{arns + "service/default/web", "none", arns + "service/old-form"}}))(t)
	s := out.Services[0]
	if s.RunningCount != 2 || s.PendingCount != 2 {
		t.Errorf("%d running, %d pending, want 2 and 2", s.RunningCount, s.PendingCount)
	}
	counts := ""
	for _, d := range s.Deployments {
		counts += fmt.Sprintf("%s desired %d running %d pending %d; ", *d.Status, d.DesiredCount, d.RunningCount,
			d.PendingCount)
	}
	if want := "PRIMARY desired 1 running 1 pending 2; ACTIVE desired 0 running 1 pending 0; "; counts != want {
		t.Errorf("deployments %s\nwant        %s", counts, want)
	}
	if len(s.Events) != 2 || *s.Events[0].Message != "(service web) second" ||
		*s.Events[1].Message != "(service web) first" {
		t.Errorf("events %v", s.Events)
	}
	failures := []types.Failure{
		{Arn: aws.String(arns + "service/default/none"), Reason: aws.String("MISSING")},
		{Arn: aws.String(arns + "service/old-form"), Reason: aws.String("MISSING")},
	}
	if d := diff(failures, out.Failures); d != "" {
		t.Errorf("failures (-want +got):\n%s", d)
	}
	wantError(api.DescribeServices(ctx, &sdk.DescribeServicesInput{Services: []string{}}))(t,
		"InvalidParameter: Services cannot be empty.")
	wantError(api.DescribeServices(ctx, &sdk.DescribeServicesInput{Services: make([]string, 11)}))(t,
		"InvalidParameter: At most 10 services can be described at once")
}

func TestDeleteService(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.createService("default", "web")
	remove := func(force bool) (*sdk.DeleteServiceOutput, error) {
		return api.DeleteService(ctx, &sdk.DeleteServiceInput{Service: aws.String("web"), Force: &force})
	}
	wantError(remove(false))(t, "InvalidParameter: The service cannot be stopped while it is scaled above 0.")
	for range 2 { // the repeated call returns the same answer
		out := apitest.Must(remove(true))(t)
		if s := out.Service; *s.Status != "DRAINING" || s.DesiredCount != 0 || len(s.Deployments) != 1 {
			t.Errorf("DeleteService: %s, count %d, %d deployments", *s.Status, s.DesiredCount, len(s.Deployments))
		}
	}
	wantError(api.UpdateService(ctx, &sdk.UpdateServiceInput{Service: aws.String("web"), DesiredCount: aws.Int32(1)}))(t,
		"ServiceNotActive: Service was not ACTIVE.")
	api.update(func(tx *store.Tx) error {
		svc, _ := task.FindService(tx, task.ServiceRef{Scope: api.sc, Cluster: "default", Name: "web"})
		gone := *svc
		gone.Status = task.Inactive
		task.PutService(tx, gone)
		return nil
	})
	if s := api.describeWeb("default"); *s.Status != "INACTIVE" || len(s.Deployments) != 0 {
		t.Errorf("inactive service: %s, %d deployments", *s.Status, len(s.Deployments))
	}
	wantError(api.DeleteService(ctx, &sdk.DeleteServiceInput{Service: aws.String("none")}))(t,
		"ServiceNotFound: Service not found.")
}

func TestListServices(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.createCluster("prod")
	for i := range 12 {
		api.createService("prod", fmt.Sprintf("s%02d", i), func(in *sdk.CreateServiceInput) {
			if i%2 == 1 {
				in.LaunchType = types.LaunchTypeExternal
			}
		})
	}
	api.createService("default", "elsewhere")
	apitest.Must(api.DeleteService(ctx, &sdk.DeleteServiceInput{Cluster: aws.String("prod"), Service: aws.String("s03"),
		Force: aws.Bool(true)}))(t)
	for _, tc := range []struct {
		name string
		in   sdk.ListServicesInput
		want string // the pages
	}{
		{"ten to a page", sdk.ListServicesInput{}, "s00 s01 s02 s04 s05 s06 s07 s08 s09 s10 | s11"},
		{"five to a page", sdk.ListServicesInput{MaxResults: aws.Int32(5)},
			"s00 s01 s02 s04 s05 | s06 s07 s08 s09 s10 | s11"},
		{"launch type", sdk.ListServicesInput{LaunchType: types.LaunchTypeExternal}, "s01 s05 s07 s09 s11"},
		{"daemons", sdk.ListServicesInput{SchedulingStrategy: types.SchedulingStrategyDaemon}, ""},
		{"replicas", sdk.ListServicesInput{SchedulingStrategy: types.SchedulingStrategyReplica, MaxResults: aws.Int32(100)},
			"s00 s01 s02 s04 s05 s06 s07 s08 s09 s10 s11"},
		{"managed by ECS", sdk.ListServicesInput{ResourceManagementType: types.ResourceManagementTypeEcs}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.in.Cluster = aws.String("prod")
			var got []string
			pages := sdk.NewListServicesPaginator(api, &tc.in)
			for pages.HasMorePages() {
				page := apitest.Must(pages.NextPage(ctx))(t)
				var names []string
				for _, arn := range page.ServiceArns {
					names = append(names, strings.TrimPrefix(arn, arns+"service/prod/"))
				}
				got = append(got, strings.Join(names, " "))
			}
			if got := strings.Join(got, " | "); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// TestRegions checks that a region does not show the resources of another region.
func TestRegions(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.createService("default", "web")
	china := api.client(apitest.InRegion("cn-north-1"))
	services := apitest.Must(china.ListServices(ctx, &sdk.ListServicesInput{}))(t).ServiceArns
	if len(services) != 0 {
		t.Errorf("services of another region: %v", services)
	}
	clusters := apitest.Must(china.ListClusters(ctx, &sdk.ListClustersInput{}))(t).ClusterArns
	if want := []string{"arn:aws-cn:ecs:cn-north-1:" + account + ":cluster/default"}; !slices.Equal(clusters, want) {
		t.Errorf("clusters of another region: %v, want %v", clusters, want)
	}
}

// TestListServicesByNamespace checks that the list of an existing namespace is empty: services that are registered in
// it do not use Service Connect.
func TestListServicesByNamespace(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	arn := api.createCloudMapService("web", registry.SRV)
	api.createService("default", "web", func(in *sdk.CreateServiceInput) {
		in.ServiceRegistries = []types.ServiceRegistry{{RegistryArn: &arn, ContainerName: aws.String("app"),
			ContainerPort: aws.Int32(80)}}
	})
	if out := apitest.Must(api.ListServicesByNamespace(ctx, &sdk.ListServicesByNamespaceInput{
		Namespace: aws.String("corp-web")}))(t); len(out.ServiceArns) != 0 {
		t.Errorf("services %v", out.ServiceArns)
	}
	for _, name := range []string{"none", "arn:aws:servicediscovery:eu-west-1:123456789012:namespace/ns-none",
		arns + "cluster/default"} {
		wantError(api.ListServicesByNamespace(ctx, &sdk.ListServicesByNamespaceInput{Namespace: &name}))(t,
			"NamespaceNotFound: Namespace not found: "+name)
	}
}

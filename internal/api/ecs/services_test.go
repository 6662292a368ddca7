package ecs_test

import (
	"fmt"
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

// TestCreateService: the answer shows what was asked for with AWS's defaults, a first deployment under way,
// and the row says the same to the loops.
func TestCreateService(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.cluster("prod")
	arn := w.discovery("web", registry.SRV)
	definition := w.definition("web", types.NetworkModeAwsvpc, 80)
	got := apitest.Must(w.CreateService(ctx, &sdk.CreateServiceInput{
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
		t.Errorf("service deployment %s", aws.ToString(got.CurrentServiceDeployment))
	}
	if !strings.HasPrefix(*d.Id, "ecs-svc/") {
		t.Errorf("deployment id %s", *d.Id)
	}
	want.Tags = nil
	if d := diff(want, ptr(w.described("prod", "web"))); d != "" {
		t.Errorf("DescribeServices without TAGS (-want +got):\n%s", d)
	}

	row, _ := task.FindService(w.db.Snapshot(), task.ServiceRef{Scope: w.sc, Cluster: "prod", Name: "web"})
	id := arn[strings.LastIndexByte(arn, '/')+1:]
	if d := diff([]task.Registry{{ARN: arn, ServiceID: id, ContainerName: "app", ContainerPort: 80}},
		row.Primary().Registries); d != "" {
		t.Errorf("the row's registries (-want +got):\n%s", d)
	}
	if d := diff(&task.Network{Subnets: []string{"subnet-1", "subnet-2"}, AssignPublicIP: "DISABLED"},
		row.Primary().Network); d != "" {
		t.Errorf("the row's network (-want +got):\n%s", d)
	}
	if row.DesiredCount != 3 || row.MinimumHealthy != 100 || row.Maximum != 200 || row.Primary().Family != "web" ||
		row.Primary().Revision != 1 {
		t.Errorf("the row: %+v", row)
	}
}

func ptr[T any](v T) *T { return &v }

func TestFargateService(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	in := &sdk.CreateServiceInput{
		ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(0),
		LaunchType: types.LaunchTypeFargate, NetworkConfiguration: awsvpc("subnet-1"),
	}
	w.definition("web", types.NetworkModeAwsvpc) // no cpu and memory of the task: EC2 only
	wantError(w.CreateService(ctx, in))(t, "InvalidParameter: Task definition does not support launch_type FARGATE.")

	apitest.Must(w.RegisterTaskDefinition(ctx, &sdk.RegisterTaskDefinitionInput{
		Family: aws.String("web"), NetworkMode: types.NetworkModeAwsvpc, Cpu: aws.String("256"), Memory: aws.String("512"),
		ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("i")}},
	}))(t)
	out := apitest.Must(w.CreateService(ctx, in))(t)
	s := out.Service
	if s.LaunchType != types.LaunchTypeFargate || *s.PlatformVersion != "LATEST" || *s.PlatformFamily != "Linux" {
		t.Errorf("service: %s %s %s", s.LaunchType, *s.PlatformVersion, *s.PlatformFamily)
	}
	if d := s.Deployments[0]; *d.PlatformVersion != "1.4.0" || *d.PlatformFamily != "Linux" ||
		d.LaunchType != types.LaunchTypeFargate {
		t.Errorf("deployment: %s %s %s", *d.PlatformVersion, *d.PlatformFamily, d.LaunchType)
	}
}

// TestCreateServiceRules are the rules that need the state: each is checked in the transaction that writes.
func TestCreateServiceRules(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	arn := w.discovery("web", registry.A)
	w.definition("web", types.NetworkModeAwsvpc, 80)
	w.definition("plain", types.NetworkModeBridge, 80)
	w.definition("old", types.NetworkModeBridge)
	apitest.Must(w.DeregisterTaskDefinition(ctx, &sdk.DeregisterTaskDefinitionInput{
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
		{"no such cluster", "web", func(in *sdk.CreateServiceInput) { in.Cluster = aws.String("none") },
			"ClusterNotFound: Cluster not found."},
		{"cluster of another account", "web", func(in *sdk.CreateServiceInput) {
			in.Cluster = aws.String("arn:aws:ecs:eu-west-1:999999999999:cluster/default")
		}, "ClusterNotFound: Cluster not found."},
		{"no such definition", "none", nil, "Client: TaskDefinition not found."},
		{"no such revision", "web:9", nil, "Client: TaskDefinition not found."},
		{"inactive definition", "old:1", nil, "Client: TaskDefinition is inactive"},
		{"awsvpc without a network", "web", nil,
			"InvalidParameter: Network Configuration must be provided when networkMode 'awsvpc' is specified."},
		{"network without awsvpc", "plain", func(in *sdk.CreateServiceInput) { in.NetworkConfiguration = awsvpc("s") },
			"InvalidParameter: Network Configuration is not valid for the given networkMode of this task definition."},
		{"two registries", "plain", func(in *sdk.CreateServiceInput) { in.ServiceRegistries = registries(arn, arn) },
			"InvalidParameter: service registries can have at most 1 items"},
		{"no such registry", "plain", func(in *sdk.CreateServiceInput) { in.ServiceRegistries = registries(gone) },
			"InvalidParameter: The service registry " + gone + " does not exist. Create the Cloud Map service first."},
		{"registry elsewhere", "plain", func(in *sdk.CreateServiceInput) {
			in.ServiceRegistries = registries(strings.Replace(arn, region, "us-east-1", 1))
		}, "InvalidParameter: The service registry arn:aws:servicediscovery:us-east-1..."},
		{"no ARN", "plain", func(in *sdk.CreateServiceInput) { in.ServiceRegistries = registries("srv-1") },
			"InvalidParameter: Invalid registryArn..."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := &sdk.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: &tc.definition,
				DesiredCount: aws.Int32(1)}
			if tc.edit != nil {
				tc.edit(in)
			}
			wantError(w.CreateService(ctx, in))(t, tc.want)
		})
	}
	if list := apitest.Must(w.ListServices(ctx, &sdk.ListServicesInput{}))(t); len(list.ServiceArns) != 0 {
		t.Errorf("a refused request has made %v", list.ServiceArns)
	}
}

// TestRepeatedCreation: the same request again gives the same service, another one for its name is refused.
func TestRepeatedCreation(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.definition("web", types.NetworkModeBridge)
	create := func(count int32, token string) (*sdk.CreateServiceOutput, error) {
		in := &sdk.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: &count}
		if token != "" {
			in.ClientToken = &token
		}
		return w.CreateService(ctx, in)
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
		apitest.Must(w.UpdateService(ctx, &sdk.UpdateServiceInput{Service: aws.String("web"), DesiredCount: &n}))(t)
	}
	first := apitest.Must(create(1, "t1"))(t).Service
	repeat(first, "t1")
	scale(3)
	repeat(first, "t1") // late: only the token shows that it is the same request
	for _, tc := range []struct {
		count int32
		token string
	}{{2, "t1"}, {1, "t2"}, {1, ""}} {
		wantError(create(tc.count, tc.token))(t, other)
	}

	apitest.Must(w.DeleteService(ctx, &sdk.DeleteServiceInput{Service: aws.String("web"), Force: aws.Bool(true)}))(t)
	wantError(create(1, "t1"))(t, "InvalidParameter: Unable to Start a service that is still Draining.")
	w.write(func(tx *store.Tx) error {
		svc, _ := task.FindService(tx, task.ServiceRef{Scope: w.sc, Cluster: "default", Name: "web"})
		task.AddEvent(tx, svc, task.Event{ID: uuid.NewString(), Created: w.clock.Now(),
			Message: "has reached a steady state."})
		gone := *svc
		gone.Status = task.Inactive
		task.PutService(tx, gone)
		return nil
	})
	reborn := apitest.Must(create(1, ""))(t).Service
	if *reborn.Deployments[0].Id == *first.Deployments[0].Id || len(reborn.Events) != 0 {
		t.Errorf("the name of an inactive service gives a new one; got deployment %s, events %v", *reborn.Deployments[0].Id,
			reborn.Events)
	}
	repeat(reborn, "")
	scale(3)
	wantError(create(1, ""))(t, other)
}

// TestUpdateService: which members start a deployment when they differ, and that equal ones start none.
func TestUpdateService(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	a, srv := w.discovery("a", registry.A), w.discovery("srv", registry.SRV)
	w.definition("web", types.NetworkModeAwsvpc, 80)
	w.service("default", "web", func(in *sdk.CreateServiceInput) {
		in.TaskDefinition = aws.String("web:1")
		in.NetworkConfiguration = awsvpc("subnet-1", "subnet-2")
		in.ServiceRegistries = []types.ServiceRegistry{{RegistryArn: &a}}
	})
	w.definition("web", types.NetworkModeAwsvpc, 80) // the third revision, since w.service has made one
	w.definition("plain", types.NetworkModeBridge)
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
		{"the same definition", sdk.UpdateServiceInput{TaskDefinition: aws.String(arns + "task-definition/web:3")}, false},
		{"the latest, which it is", sdk.UpdateServiceInput{TaskDefinition: aws.String("web")}, false},
		{"by force", sdk.UpdateServiceInput{ForceNewDeployment: true}, true},
		{"the same network in another order", sdk.UpdateServiceInput{NetworkConfiguration: awsvpc("subnet-2", "subnet-1")},
			false},
		{"network", sdk.UpdateServiceInput{NetworkConfiguration: awsvpc("subnet-3")}, true},
		{"the same registry", sdk.UpdateServiceInput{ServiceRegistries: []types.ServiceRegistry{{RegistryArn: &a}}}, false},
		{"registry", sdk.UpdateServiceInput{ServiceRegistries: []types.ServiceRegistry{
			{RegistryArn: &srv, Port: aws.Int32(80)}}}, true},
		{"no registry", sdk.UpdateServiceInput{ServiceRegistries: []types.ServiceRegistry{}}, true},
		{"still none", sdk.UpdateServiceInput{ServiceRegistries: []types.ServiceRegistry{}}, false},
		{"percents", sdk.UpdateServiceInput{DeploymentConfiguration: &types.DeploymentConfiguration{
			MaximumPercent: aws.Int32(150)}}, false},
		{"breaker", sdk.UpdateServiceInput{DeploymentConfiguration: breaker}, false},
		{"grace period", sdk.UpdateServiceInput{HealthCheckGracePeriodSeconds: aws.Int32(60)}, false},
		{"placement", sdk.UpdateServiceInput{PlacementConstraints: []types.PlacementConstraint{{Type: "distinctInstance"}}},
			false},
		{"commands", sdk.UpdateServiceInput{EnableExecuteCommand: aws.Bool(true)}, false},
		{"Service Connect off", sdk.UpdateServiceInput{ServiceConnectConfiguration: &types.ServiceConnectConfiguration{}},
			false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := w.described("default", "web")
			tc.in.Service = aws.String("web")
			got := apitest.Must(w.UpdateService(ctx, &tc.in))(t).Service
			deployed := len(got.Deployments) - len(before.Deployments)
			if deployed != map[bool]int{true: 1}[tc.deploy] {
				t.Fatalf("it has started %d deployments", deployed)
			}
			if deployed == 0 && *got.Deployments[0].Id != *before.Deployments[0].Id {
				t.Errorf("another deployment is primary")
			}
			if deployed == 1 && (*got.Deployments[0].Status != "PRIMARY" || *got.Deployments[1].Status != "ACTIVE" ||
				*got.Deployments[1].Id != *before.Deployments[0].Id) {
				t.Errorf("the new deployment is not before the old one: %v", got.Deployments)
			}
		})
	}
	s := w.described("default", "web")
	c := s.DeploymentConfiguration
	got := fmt.Sprintf(
		"count %d of %s, %d..%d%%, breaker %v, grace %d, exec %v, network %v, constraints %d, registries %d",
		s.DesiredCount, strings.TrimPrefix(*s.TaskDefinition, arns), *c.MinimumHealthyPercent, *c.MaximumPercent,
		c.DeploymentCircuitBreaker.Enable, *s.HealthCheckGracePeriodSeconds, s.EnableExecuteCommand,
		s.NetworkConfiguration.AwsvpcConfiguration.Subnets, len(s.PlacementConstraints), len(s.ServiceRegistries))
	want := "count 5 of task-definition/web:3, 100..150%, breaker true, grace 60, exec true, network [subnet-3], constraints 1, registries 0"
	if got != want {
		t.Errorf("after all updates\n%s\nwant\n%s", got, want)
	}

	for _, tc := range []struct {
		name, want string
		in         sdk.UpdateServiceInput
	}{
		{"unknown", "ServiceNotFound: Service not found.", sdk.UpdateServiceInput{Service: aws.String("none")}},
		{"count", "InvalidParameter: Task count can not be lesser than 0",
			sdk.UpdateServiceInput{DesiredCount: aws.Int32(-1)}},
		{"another mode",
			"InvalidParameter: Network Configuration is not valid for the given networkMode of this task definition.",
			sdk.UpdateServiceInput{TaskDefinition: aws.String("plain")}},
		{"registry", "InvalidParameter: When specifying 'awsvpc' for networkMode and a registry with SRV records...",
			sdk.UpdateServiceInput{ServiceRegistries: []types.ServiceRegistry{{RegistryArn: &srv}}}},
		{"percents",
			"InvalidParameter: Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments",
			sdk.UpdateServiceInput{DeploymentConfiguration: &types.DeploymentConfiguration{MaximumPercent: aws.Int32(100)}}},
		{"load balancers", "UnsupportedFeature: Load balancers...",
			sdk.UpdateServiceInput{LoadBalancers: []types.LoadBalancer{{ContainerName: aws.String("app")}}}},
		{"cluster mismatch", "InvalidParameter: Invalid identifier: Identifier is for cluster prod. Your cluster is default",
			sdk.UpdateServiceInput{Service: aws.String(arns + "service/prod/web")}},
	} {
		t.Run("refused: "+tc.name, func(t *testing.T) {
			if tc.in.Service == nil {
				tc.in.Service = aws.String("web")
			}
			wantError(w.UpdateService(ctx, &tc.in))(t, tc.want)
		})
	}
	if d := diff(s, w.described("default", "web")); d != "" {
		t.Errorf("refused updates have changed the service:\n%s", d)
	}
}

// TestInactiveDefinition: a service on a revision that is inactive by now can still be scaled, and
// deployed once more by force.
func TestInactiveDefinition(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.service("default", "web")
	apitest.Must(w.DeregisterTaskDefinition(ctx, &sdk.DeregisterTaskDefinitionInput{
		TaskDefinition: aws.String("web:1")}))(t)
	apitest.Must(w.UpdateService(ctx, &sdk.UpdateServiceInput{Service: aws.String("web"), DesiredCount: aws.Int32(2)}))(t)
	if d := apitest.Must(w.UpdateService(ctx, &sdk.UpdateServiceInput{Service: aws.String("web"),
		ForceNewDeployment: true}))(t).Service.Deployments; len(d) != 2 ||
		*d[0].TaskDefinition != arns+"task-definition/web:1" {
		t.Errorf("deployed by force: %v", d)
	}
	wantError(w.UpdateService(ctx, &sdk.UpdateServiceInput{Service: aws.String("web"),
		TaskDefinition: aws.String("web:1")}))(t, "Client: TaskDefinition is inactive")
}

// TestDescribeServices: counts by deployment, events newest first, failures for what is not there.
func TestDescribeServices(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	created := w.service("default", "web")
	old := *created.Deployments[0].Id
	primary := *apitest.Must(w.UpdateService(ctx, &sdk.UpdateServiceInput{Service: aws.String("web"),
		ForceNewDeployment: true}))(t).Service.Deployments[0].Id
	w.write(func(tx *store.Tx) error {
		svc, _ := task.FindService(tx, task.ServiceRef{Scope: w.sc, Cluster: "default", Name: "web"})
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
			t := task.Task{Account: account, Region: region, Cluster: "default", ID: task.ID(fmt.Sprintf("%032x", i)),
				Service:    "web",
				Deployment: s.deployment, Family: "web", Revision: 1, Observed: task.Observed{State: s.state}}
			task.CreateTask(tx, t)
			if s.desired == task.DesiredStopped {
				if _, _, err := task.Stop(tx, task.Ref{Scope: w.sc, Cluster: "default", ID: t.ID},
					task.StopCause{Code: task.UserInitiated}, epoch); err != nil {
					return err
				}
			}
		}
		for _, message := range []string{"first", "second"} {
			task.AddEvent(tx, svc, task.Event{ID: uuid.NewString(), Created: w.clock.Now(), Message: message})
		}
		return nil
	})
	out := apitest.Must(w.DescribeServices(ctx, &sdk.DescribeServicesInput{
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
	wantError(w.DescribeServices(ctx, &sdk.DescribeServicesInput{Services: []string{}}))(t,
		"InvalidParameter: Services cannot be empty.")
	wantError(w.DescribeServices(ctx, &sdk.DescribeServicesInput{Services: make([]string, 11)}))(t,
		"InvalidParameter: At most 10 services can be described at once")
}

func TestDeleteService(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.service("default", "web")
	remove := func(force bool) (*sdk.DeleteServiceOutput, error) {
		return w.DeleteService(ctx, &sdk.DeleteServiceInput{Service: aws.String("web"), Force: &force})
	}
	wantError(remove(false))(t, "InvalidParameter: The service cannot be stopped while it is scaled above 0.")
	for range 2 { // a repeat answers alike
		out := apitest.Must(remove(true))(t)
		if s := out.Service; *s.Status != "DRAINING" || s.DesiredCount != 0 || len(s.Deployments) != 1 {
			t.Errorf("DeleteService: %s, count %d, %d deployments", *s.Status, s.DesiredCount, len(s.Deployments))
		}
	}
	wantError(w.UpdateService(ctx, &sdk.UpdateServiceInput{Service: aws.String("web"), DesiredCount: aws.Int32(1)}))(t,
		"ServiceNotActive: Service was not ACTIVE.")
	w.write(func(tx *store.Tx) error {
		svc, _ := task.FindService(tx, task.ServiceRef{Scope: w.sc, Cluster: "default", Name: "web"})
		gone := *svc
		gone.Status = task.Inactive
		task.PutService(tx, gone)
		return nil
	})
	if s := w.described("default", "web"); *s.Status != "INACTIVE" || len(s.Deployments) != 0 {
		t.Errorf("an inactive service: %s, %d deployments", *s.Status, len(s.Deployments))
	}
	wantError(w.DeleteService(ctx, &sdk.DeleteServiceInput{Service: aws.String("none")}))(t,
		"ServiceNotFound: Service not found.")
}

func TestListServices(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.cluster("prod")
	for i := range 12 {
		w.service("prod", fmt.Sprintf("s%02d", i), func(in *sdk.CreateServiceInput) {
			if i%2 == 1 {
				in.LaunchType = types.LaunchTypeExternal
			}
		})
	}
	w.service("default", "elsewhere")
	apitest.Must(w.DeleteService(ctx, &sdk.DeleteServiceInput{Cluster: aws.String("prod"), Service: aws.String("s03"),
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
			pages := sdk.NewListServicesPaginator(w, &tc.in)
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

// TestRegions: one region knows nothing of another.
func TestRegions(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.service("default", "web")
	if out := apitest.Must(w.client(apitest.InRegion("cn-north-1")).ListServices(ctx, &sdk.ListServicesInput{}))(t); len(
		out.ServiceArns) != 0 {
		t.Errorf("services of another region: %v", out.ServiceArns)
	}
	if clusters := apitest.Must(w.client(apitest.InRegion("cn-north-1")).ListClusters(ctx, &sdk.ListClustersInput{}))(
		t); fmt.Sprint(clusters.ClusterArns) != "[arn:aws-cn:ecs:cn-north-1:"+account+":cluster/default]" {
		t.Errorf("clusters of another region: %v", clusters.ClusterArns)
	}
}

// TestListServicesByNamespace: a namespace that there is has no services of Service Connect; those that are
// registered in it are not meant.
func TestListServicesByNamespace(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	arn := w.discovery("web", registry.SRV)
	w.service("default", "web", func(in *sdk.CreateServiceInput) {
		in.ServiceRegistries = []types.ServiceRegistry{{RegistryArn: &arn, ContainerName: aws.String("app"),
			ContainerPort: aws.Int32(80)}}
	})
	if out := apitest.Must(w.ListServicesByNamespace(ctx, &sdk.ListServicesByNamespaceInput{
		Namespace: aws.String("corp-web")}))(t); len(out.ServiceArns) != 0 {
		t.Errorf("services %v", out.ServiceArns)
	}
	for _, name := range []string{"none", "arn:aws:servicediscovery:eu-west-1:123456789012:namespace/ns-none",
		arns + "cluster/default"} {
		wantError(w.ListServicesByNamespace(ctx, &sdk.ListServicesByNamespaceInput{Namespace: &name}))(t,
			"NamespaceNotFound: Namespace not found: "+name)
	}
}

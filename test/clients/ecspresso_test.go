package clients

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// ecspresso makes the calls of ecspresso, a deployment tool, with one service definition file.
type ecspresso struct {
	*harness.Server
	api      *ecs.Client
	registry string
	count    int32
	tags     []ecstypes.Tag
}

// service returns the service definition file. Every update sends all its attributes.
func (e *ecspresso) service() *ecs.UpdateServiceInput {
	return &ecs.UpdateServiceInput{
		Service: aws.String("api"), DesiredCount: &e.count, EnableExecuteCommand: aws.Bool(false),
		EnableECSManagedTags: aws.Bool(false),
		DeploymentConfiguration: &ecstypes.DeploymentConfiguration{
			MinimumHealthyPercent: aws.Int32(100), MaximumPercent: aws.Int32(200),
			DeploymentCircuitBreaker: &ecstypes.DeploymentCircuitBreaker{},
		},
		NetworkConfiguration: &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{
			Subnets: []string{"sn-a"}, SecurityGroups: []string{}, AssignPublicIp: ecstypes.AssignPublicIpDisabled}},
		ServiceRegistries:    []ecstypes.ServiceRegistry{{RegistryArn: &e.registry}},
		PlacementConstraints: []ecstypes.PlacementConstraint{}, PlacementStrategy: []ecstypes.PlacementStrategy{},
		CapacityProviderStrategy: []ecstypes.CapacityProviderStrategyItem{}, LoadBalancers: []ecstypes.LoadBalancer{},
		PropagateTags: ecstypes.PropagateTagsNone, HealthCheckGracePeriodSeconds: aws.Int32(0),
	}
}

// status returns the service with its tags. found is false if the service is inactive or does not exist.
func (e *ecspresso) status() (svc ecstypes.Service, found bool) {
	e.T.Helper()
	out := harness.Must(e.api.DescribeServices(e.T.Context(), &ecs.DescribeServicesInput{
		Services: []string{"api"}, Include: []ecstypes.ServiceField{ecstypes.ServiceFieldTags}}))(e.T)
	if len(out.Services) == 0 || *out.Services[0].Status == "INACTIVE" {
		return svc, false
	}
	return out.Services[0], true
}

// wait waits until the service is stable and returns the service's events since began, which the tool prints meanwhile.
func (e *ecspresso) wait(began time.Time) (events []string) {
	e.T.Helper()
	if err := e.WaitServicesStable("api"); err != nil {
		e.T.Fatal(err)
	}
	e.WaitStable("api") // the waiter ignores the rollout state, whose events the test reads
	svc, _ := e.status()
	for _, event := range svc.Events {
		if event.CreatedAt.After(began) {
			events = append(events, *event.Message)
		}
	}
	return events
}

// deploy creates or updates the service with a definition, waits, and returns the id of the primary deployment.
func (e *ecspresso) deploy(definition *ecs.RegisterTaskDefinitionInput) string {
	e.T.Helper()
	ctx, began := e.T.Context(), time.Now().Add(-time.Second)
	svc, found := e.status()
	arn := harness.Must(e.api.RegisterTaskDefinition(ctx, definition))(e.T).TaskDefinition.TaskDefinitionArn
	if !found {
		file := e.service()
		created := harness.Must(e.api.CreateService(ctx, &ecs.CreateServiceInput{
			ServiceName: file.Service, TaskDefinition: arn, DesiredCount: file.DesiredCount,
			DeploymentConfiguration: file.DeploymentConfiguration,
			NetworkConfiguration:    file.NetworkConfiguration, ServiceRegistries: file.ServiceRegistries,
			PropagateTags:      file.PropagateTags,
			SchedulingStrategy: ecstypes.SchedulingStrategyReplica, LaunchType: ecstypes.LaunchTypeFargate,
			PlatformVersion: aws.String("LATEST"), Tags: e.tags,
		}))(e.T).Service
		e.wait(began)
		return *created.Deployments[0].Id
	}
	file := e.service()
	file.TaskDefinition = arn
	harness.Must(e.api.UpdateService(ctx, file))(e.T)
	harness.Must(e.api.TagResource(ctx, &ecs.TagResourceInput{ResourceArn: svc.ServiceArn, Tags: e.tags}))(e.T)
	harness.Must(e.api.UntagResource(ctx, &ecs.UntagResourceInput{ResourceArn: svc.ServiceArn,
		TagKeys: []string{"old"}}))(e.T)
	return e.update(arn, false, began)
}

// update makes the second call of each deployment, which is the only call of `refresh` and `scale`.
func (e *ecspresso) update(definition *string, force bool, began time.Time) string {
	e.T.Helper()
	updated := harness.Must(e.api.UpdateService(e.T.Context(), &ecs.UpdateServiceInput{
		Service: aws.String("api"), TaskDefinition: definition, DesiredCount: &e.count,
		ForceNewDeployment: force}))(e.T).Service
	events := e.wait(began)
	if len(events) == 0 || !strings.HasPrefix(events[0], "(service api) ") {
		e.T.Errorf("the deployment has no events: %v", events)
	}
	return *updated.Deployments[0].Id
}

// revisions returns the numbers of the family's revisions, newest first.
func (e *ecspresso) revisions(status ecstypes.TaskDefinitionStatus) string {
	e.T.Helper()
	out := harness.Must(e.api.ListTaskDefinitions(e.T.Context(), &ecs.ListTaskDefinitionsInput{
		FamilyPrefix: aws.String("api"), Sort: ecstypes.SortOrderDesc, Status: status}))(e.T)
	var numbers []string
	for _, arn := range out.TaskDefinitionArns {
		numbers = append(numbers, arn[strings.LastIndexByte(arn, ':')+1:])
	}
	return strings.Join(numbers, " ")
}

// checkReads makes the calls of `diff` and `verify`, which compare the service with the file and the tool's defaults,
// of `tasks`, and of `exec`.
func (e *ecspresso) checkReads() {
	e.T.Helper()
	ctx := e.T.Context()
	svc, _ := e.status()
	d, n := svc.DeploymentConfiguration, svc.NetworkConfiguration.AwsvpcConfiguration
	if *d.MinimumHealthyPercent != 100 || *d.MaximumPercent != 200 || d.DeploymentCircuitBreaker.Enable ||
		d.DeploymentCircuitBreaker.Rollback || n.AssignPublicIp != ecstypes.AssignPublicIpDisabled ||
		*svc.PlatformVersion != "LATEST" ||
		svc.LaunchType != ecstypes.LaunchTypeFargate ||
		svc.SchedulingStrategy != ecstypes.SchedulingStrategyReplica ||
		svc.PropagateTags != ecstypes.PropagateTagsNone ||
		svc.DesiredCount != 2 ||
		len(svc.ServiceRegistries) != 1 || svc.ServiceRegistries[0].ContainerName != nil ||
		ecsTagText(svc.Tags) != "env=test" {
		e.T.Errorf("the service differs from the file: %s", harness.AsJSON(svc))
	}
	list := harness.Must(e.api.ListTagsForResource(ctx,
		&ecs.ListTagsForResourceInput{ResourceArn: svc.ServiceArn}))(e.T)
	if got := ecsTagText(list.Tags); got != "env=test" {
		e.T.Errorf("the tags are %s", got)
	}
	harness.Must(e.api.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{
		TaskDefinition: svc.TaskDefinition, Include: []ecstypes.TaskDefinitionField{
			ecstypes.TaskDefinitionFieldTags}}))(e.T)
	harness.Must(e.api.DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: []string{*svc.ClusterArn}}))(e.T)

	// `tasks` lists by service and by family; `exec` reports why it cannot open a session.
	running := e.Tasks("api", ecstypes.DesiredStatusRunning)
	family := harness.Must(e.api.ListTasks(ctx, &ecs.ListTasksInput{Family: aws.String("api"),
		DesiredStatus: ecstypes.DesiredStatusRunning}))(e.T)
	if len(running) != 2 || len(family.TaskArns) != 2 || len(e.Tasks("api", ecstypes.DesiredStatusStopped)) != 3 {
		e.T.Errorf("%d running tasks, %d of the family, %d stopped; want 2, 2, 3", len(running), len(family.TaskArns),
			len(e.Tasks("api", ecstypes.DesiredStatusStopped)))
	}
	_, err := e.api.ExecuteCommand(ctx, &ecs.ExecuteCommandInput{Task: running[0].TaskArn, Command: aws.String("sh"),
		Interactive: true})
	if err == nil || !strings.Contains(err.Error(), "execute command was not enabled") {
		e.T.Errorf("ExecuteCommand: %v", err)
	}
}

// checkRollback makes the calls of `rollback`, which deploys the revision before the current one, and deregisters and
// deletes the current one.
func (e *ecspresso) checkRollback() {
	e.T.Helper()
	ctx := e.T.Context()
	if got := e.revisions(ecstypes.TaskDefinitionStatusActive); got != "2 1" {
		e.T.Fatalf("the active revisions are %s, want 2 1", got)
	}
	began := time.Now().Add(-time.Second)
	harness.Must(e.api.UpdateService(ctx, &ecs.UpdateServiceInput{Service: aws.String("api"),
		TaskDefinition: aws.String("api:1")}))(e.T)
	e.wait(began)
	harness.Must(e.api.DeregisterTaskDefinition(ctx, &ecs.DeregisterTaskDefinitionInput{
		TaskDefinition: aws.String("api:2")}))(e.T)
	deleted := harness.Must(e.api.DeleteTaskDefinitions(ctx, &ecs.DeleteTaskDefinitionsInput{
		TaskDefinitions: []string{"api:2", "api:1"}}))(e.T)
	if len(deleted.TaskDefinitions) != 1 || len(deleted.Failures) != 1 ||
		!strings.Contains(*deleted.Failures[0].Reason, "still in ACTIVE status") {
		e.T.Errorf("DeleteTaskDefinitions returns %s", harness.AsJSON(deleted))
	}
	if active, deleting := e.revisions(ecstypes.TaskDefinitionStatusActive),
		e.revisions(ecstypes.TaskDefinitionStatusDeleteInProgress); active != "1" || deleting != "2" {
		e.T.Errorf("active revisions are %s, revisions being deleted %s; want 1 and 2", active, deleting)
	}
	definitions := []string{}
	for _, task := range e.Tasks("api", ecstypes.DesiredStatusRunning) {
		arn := *task.TaskDefinitionArn
		definitions = append(definitions, arn[strings.LastIndexByte(arn, '/')+1:])
	}
	if !slices.Equal(definitions, []string{"api:1", "api:1"}) {
		e.T.Errorf("after the rollback the tasks run %v", definitions)
	}
}

// TestEcspresso deploys a service twice, refreshes, scales, rolls back and deletes it.
func TestEcspresso(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t, "--runtime", "process")
	registry := s.CreateCloudMapService(s.CreateNamespace("ecspresso.local"), "api", 1)
	e := &ecspresso{Server: s, api: s.ECSWithoutRetries(), registry: *registry.Arn, count: 1, tags: ecsTags("env=test")}
	ctx := t.Context()
	definition := func(seconds string) *ecs.RegisterTaskDefinitionInput {
		in := harness.Program(t, "api", "sleep", seconds)
		in.Cpu, in.Memory, in.RequiresCompatibilities = aws.String("256"), aws.String("512"),
			[]ecstypes.Compatibility{ecstypes.CompatibilityFargate}
		return in
	}
	first := e.deploy(definition("1001"))
	second := e.deploy(definition("1002"))
	if second == first {
		t.Error("a new definition did not start a deployment")
	}

	// Neither an update with the unchanged file nor the second call starts a deployment.
	file := e.service()
	file.TaskDefinition = aws.String("api:2")
	if svc := harness.Must(e.api.UpdateService(ctx, file))(t).Service; *svc.Deployments[0].Id != second {
		t.Errorf("an update without a change started a deployment: %s", harness.AsJSON(svc.Deployments))
	}
	scaled := time.Now().Add(-time.Second)
	if e.count = 2; e.update(aws.String("api:2"), false, scaled) != second {
		t.Error("scaling started a deployment")
	}
	third := e.update(aws.String("api:2"), true, time.Now().Add(-time.Second))
	if third == second {
		t.Error("refresh did not start a deployment")
	}

	e.checkReads()
	e.checkRollback()
	harness.Must(e.api.DeleteService(ctx, &ecs.DeleteServiceInput{Service: aws.String("api"),
		Force: aws.Bool(true)}))(t)
	if err := s.WaitServicesInactive("api"); err != nil {
		t.Fatal(err)
	}
	if again := e.deploy(definition("1003")); again == third {
		t.Error("the service that was created again has its old deployment")
	}
}

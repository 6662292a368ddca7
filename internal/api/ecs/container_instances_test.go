package ecs_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// instanceARN returns the ARN of a node as a container instance of the default cluster.
func instanceARN(node string) string {
	return arns + "container-instance/default/" + task.ContainerInstanceID(node)
}

func (api *testAPI) describeInstance(node string, include ...types.ContainerInstanceField) types.ContainerInstance {
	api.t.Helper()
	out := apitest.Must(api.DescribeContainerInstances(api.t.Context(), &sdk.DescribeContainerInstancesInput{
		ContainerInstances: []string{instanceARN(node)}, Include: include}))(api.t)
	if len(out.ContainerInstances) != 1 {
		api.t.Fatalf("describe %s: %v", node, out.Failures)
	}
	return out.ContainerInstances[0]
}

// listInstances returns the names of the nodes that ListContainerInstances lists.
func (api *testAPI) listInstances(in sdk.ListContainerInstancesInput) string {
	api.t.Helper()
	out := apitest.Must(api.ListContainerInstances(api.t.Context(), &in))(api.t)
	var names []string
	for _, name := range []string{"n1", "n2", "n3"} {
		for _, got := range out.ContainerInstanceArns {
			if got == instanceARN(name) {
				names = append(names, name)
			}
		}
	}
	return strings.Join(names, " ")
}

// formatResources returns the values of resources as text.
func formatResources(rs []types.Resource) string {
	var s string
	for _, r := range rs {
		if *r.Type == "INTEGER" {
			s += fmt.Sprintf("%s %d; ", *r.Name, r.IntegerValue)
		} else {
			s += fmt.Sprintf("%s %v; ", *r.Name, r.StringSetValue)
		}
	}
	return s
}

func TestContainerInstances(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	n := task.Node{Name: "n1", Runtime: "process", Started: epoch, CPU: 4096, Memory: 1000, Zone: "b", OS: "linux",
		Architecture: "arm64", Version: "1.2.0"}
	api.joinNode(n)
	n.Name, n.CPU = "n2", 2048
	leave := api.joinNode(n)
	api.joinNode(task.Node{Name: "n3", Runtime: "none"}) // runs no tasks, so it is not a container instance
	if got := api.listInstances(sdk.ListContainerInstancesInput{}); got != "n1 n2" {
		t.Errorf("container instances: %s", got)
	}

	// The resources of a task are used in every cluster that the node belongs to.
	apitest.Must(api.RegisterTaskDefinition(ctx, &sdk.RegisterTaskDefinitionInput{
		Family: aws.String("job"), ContainerDefinitions: []types.ContainerDefinition{{
			Name: aws.String("app"), Image: aws.String("i"), Cpu: 100, Memory: aws.Int32(200),
			PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(80), HostPort: aws.Int32(8080)},
				{ContainerPort: aws.Int32(53), HostPort: aws.Int32(53), Protocol: "udp"}},
		}},
	}))(t)
	if started := apitest.Must(api.StartTask(ctx, &sdk.StartTaskInput{TaskDefinition: aws.String("job"),
		ContainerInstances: []string{task.ContainerInstanceID("n1")}}))(t); len(started.Tasks) != 1 ||
		*started.Tasks[0].ContainerInstanceArn != instanceARN("n1") {
		t.Fatalf("StartTask: tasks %v, failures %v", started.Tasks, started.Failures)
	}
	got := api.describeInstance("n1", types.ContainerInstanceFieldTags,
		types.ContainerInstanceFieldContainerInstanceHealth)
	if s := formatResources(got.RegisteredResources); s != "CPU 4096; MEMORY 1000; PORTS []; PORTS_UDP []; " {
		t.Errorf("registered resources: %s", s)
	}
	if s := formatResources(got.RemainingResources); s != "CPU 3996; MEMORY 800; PORTS [8080]; PORTS_UDP [53]; " {
		t.Errorf("remaining resources: %s", s)
	}
	s := fmt.Sprintln(*got.Status, got.AgentConnected, got.PendingTasksCount, got.RunningTasksCount,
		*got.VersionInfo.AgentVersion, got.RegisteredAt.Equal(epoch), strings.HasPrefix(*got.Ec2InstanceId, "mi-"),
		len(*got.Ec2InstanceId), got.HealthStatus.OverallStatus, got.Tags != nil)
	if s != "ACTIVE true 1 0 1.2.0 true true 20 OK true\n" {
		t.Errorf("container instance: %s", s)
	}
	attributes := map[string]string{}
	for _, a := range got.Attributes {
		attributes[*a.Name] = aws.ToString(a.Value)
	}
	for name, want := range map[string]string{
		"ecs.availability-zone": region + "b", "ecs.os-type": "linux", "ecs.os-family": "LINUX",
		"ecs.cpu-architecture": "arm64",
		"ecs.instance-type":    "rollcall.process", "ecs.capability.task-eni": "",
	} {
		if got, ok := attributes[name]; !ok || got != want {
			t.Errorf("attribute %s = %q", name, got)
		}
	}
	other := api.describeInstance("n2")
	if s := formatResources(other.RemainingResources); s != "CPU 2048; MEMORY 1000; PORTS []; PORTS_UDP []; " ||
		other.HealthStatus != nil {
		t.Errorf("other container instance: remaining resources %s, health %v", s, other.HealthStatus)
	}

	for filter, want := range map[string]string{
		"task:group == family:job":                 "n1",
		"attribute:ecs.cpu-architecture == arm64":  "n1 n2",
		"runningTasksCount > 0":                    "",
		"ec2InstanceId == " + task.MachineID("n2"): "n2",
		"agentVersion >= 1.10.0":                   "",
		"registeredAt < 2026-03-02":                "n1 n2",
	} {
		if got := api.listInstances(sdk.ListContainerInstancesInput{Filter: &filter}); got != want {
			t.Errorf("instances that match %s: %q, want %q", filter, got, want)
		}
	}
	wantError(api.ListContainerInstances(ctx, &sdk.ListContainerInstancesInput{Filter: aws.String("name == a")}))(t,
		"InvalidParameter: Invalid filter: unknown subject \"name\"...")
	page := apitest.Must(api.ListContainerInstances(ctx, &sdk.ListContainerInstancesInput{MaxResults: aws.Int32(1)}))(t)
	next := apitest.Must(api.ListContainerInstances(ctx, &sdk.ListContainerInstancesInput{NextToken: page.NextToken}))(t)
	if len(page.ContainerInstanceArns) != 1 || len(next.ContainerInstanceArns) != 1 || next.NextToken != nil ||
		page.ContainerInstanceArns[0] == next.ContainerInstanceArns[0] {
		t.Errorf("pages %v, %v", page.ContainerInstanceArns, next.ContainerInstanceArns)
	}
	none := apitest.Must(api.DescribeContainerInstances(ctx, &sdk.DescribeContainerInstancesInput{
		ContainerInstances: []string{"none"}}))(t)
	if d := diff([]types.Failure{{Arn: aws.String(arns + "container-instance/default/none"),
		Reason: aws.String("MISSING")}}, none.Failures); d != "" {
		t.Errorf("failures (-want +got):\n%s", d)
	}
	wantError(api.DescribeContainerInstances(ctx, &sdk.DescribeContainerInstancesInput{ContainerInstances: []string{}}))(t,
		"Client: Container Instances cannot be empty.")

	// A node whose server is lost is still a container instance, but tasks cannot be placed on it.
	leave()
	if lost := api.describeInstance("n2", types.ContainerInstanceFieldContainerInstanceHealth); lost.AgentConnected ||
		*lost.Status != "ACTIVE" || lost.HealthStatus.OverallStatus != "INSUFFICIENT_DATA" {
		t.Errorf("lost node: connected %v, status %s, health %v", lost.AgentConnected, *lost.Status,
			lost.HealthStatus.OverallStatus)
	}
	again := apitest.Must(api.StartTask(ctx, &sdk.StartTaskInput{
		TaskDefinition: aws.String("job"), ContainerInstances: []string{instanceARN("n2"), instanceARN("n1")},
	}))(t)
	want := []types.Failure{{Arn: aws.String(instanceARN("n2")), Reason: aws.String("AGENT")},
		{Arn: aws.String(instanceARN("n1")), Reason: aws.String("RESOURCE:PORTS")}}
	if d := diff(want, again.Failures); d != "" {
		t.Errorf("failures (-want +got):\n%s", d)
	}
}

// TestUnplacedTasks checks that RunTask creates no task that fits no container instance, and reports the reason.
func TestUnplacedTasks(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.joinNode(task.Node{Name: "n1", Runtime: "process", CPU: 1024, Memory: 256, Architecture: "arm64"})
	register := func(family string, edit func(*types.ContainerDefinition)) {
		c := types.ContainerDefinition{Name: aws.String("app"), Image: aws.String("i"), Memory: aws.Int32(64)}
		edit(&c)
		apitest.Must(api.RegisterTaskDefinition(ctx, &sdk.RegisterTaskDefinitionInput{Family: &family,
			ContainerDefinitions: []types.ContainerDefinition{c}}))(t)
	}
	register("small", func(c *types.ContainerDefinition) {})
	register("cpu", func(c *types.ContainerDefinition) { c.Cpu = 1025 })
	register("memory", func(c *types.ContainerDefinition) {
		c.MemoryReservation, c.Memory = aws.Int32(257), aws.Int32(1000)
	})
	register("port", func(c *types.ContainerDefinition) {
		c.PortMappings = []types.PortMapping{{ContainerPort: aws.Int32(80), HostPort: aws.Int32(8080)}}
	})
	constraint := func(expression string) []types.PlacementConstraint {
		if expression == "" {
			return []types.PlacementConstraint{{Type: types.PlacementConstraintTypeDistinctInstance}}
		}
		return []types.PlacementConstraint{{Type: types.PlacementConstraintTypeMemberOf, Expression: &expression}}
	}
	for _, tc := range []struct {
		in     sdk.RunTaskInput
		tasks  int
		reason string
	}{
		{sdk.RunTaskInput{TaskDefinition: aws.String("cpu")}, 0, "RESOURCE:CPU"},
		{sdk.RunTaskInput{TaskDefinition: aws.String("memory")}, 0, "RESOURCE:MEMORY"},
		{sdk.RunTaskInput{TaskDefinition: aws.String("small"),
			PlacementConstraints: constraint("attribute:ecs.cpu-architecture == x86_64")}, 0,
			"MemberOf placement constraint unsatisfied."},
		{sdk.RunTaskInput{TaskDefinition: aws.String("small"), PlacementConstraints: constraint(""), Count: aws.Int32(2)}, 1,
			"DistinctInstance placement constraint unsatisfied."},
		{sdk.RunTaskInput{TaskDefinition: aws.String("port"), Count: aws.Int32(2)}, 1, "RESOURCE:PORTS"},
		{sdk.RunTaskInput{TaskDefinition: aws.String("small"), Count: aws.Int32(5)}, 2, "RESOURCE:MEMORY"},
		{sdk.RunTaskInput{TaskDefinition: aws.String("small")}, 0, "RESOURCE:MEMORY"},
	} {
		out := apitest.Must(api.RunTask(ctx, &tc.in))(t)
		want := []types.Failure{{Arn: aws.String(instanceARN("n1")), Reason: &tc.reason}}
		if d := diff(want, out.Failures); d != "" || len(out.Tasks) != tc.tasks {
			t.Errorf("%s: %d tasks, want %d; failures (-want +got):\n%s",
				*tc.in.TaskDefinition, len(out.Tasks), tc.tasks, d)
		}
	}
	rows := 0
	task.ScanTasks(api.db.Snapshot(), task.ClusterRef{Scope: api.sc, Name: "default"}, "",
		func(*task.Task) bool { rows++; return true })
	if rows != 4 {
		t.Errorf("%d tasks were created, want 4", rows)
	}
}

func TestInstanceState(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.addNode("n1")
	api.addNode("n2")
	api.registerDefinition("job", types.NetworkModeBridge)
	set := func(status types.ContainerInstanceStatus, nodes ...string) (*sdk.UpdateContainerInstancesStateOutput, error) {
		return api.UpdateContainerInstancesState(ctx, &sdk.UpdateContainerInstancesStateInput{ContainerInstances: nodes,
			Status: status})
	}
	wantError(set("INACTIVE", instanceARN("n1")))(t,
		"InvalidParameter: Container instance status should be one of [ACTIVE, DRAINING]")
	before := api.describeInstance("n1").Version
	out := apitest.Must(set("DRAINING", instanceARN("n1"), "none"))(t)
	if len(out.ContainerInstances) != 1 || *out.ContainerInstances[0].Status != "DRAINING" ||
		out.ContainerInstances[0].Version != before+1 ||
		len(out.Failures) != 1 || *out.Failures[0].Reason != "MISSING" {
		t.Errorf("DRAINING: %v, failures %v", out.ContainerInstances, out.Failures)
	}
	if got := api.listInstances(sdk.ListContainerInstancesInput{Status: "DRAINING"}); got != "n1" {
		t.Errorf("container instances by status: %s", got)
	}
	for range 3 { // no task is placed on the draining instance
		ran := apitest.Must(api.RunTask(ctx, &sdk.RunTaskInput{TaskDefinition: aws.String("job")}))(t)
		if len(ran.Tasks) != 1 || *ran.Tasks[0].ContainerInstanceArn != instanceARN("n2") {
			t.Fatalf("RunTask: tasks %v, failures %v", ran.Tasks, ran.Failures)
		}
	}
	if started := apitest.Must(api.StartTask(ctx, &sdk.StartTaskInput{TaskDefinition: aws.String("job"),
		ContainerInstances: []string{instanceARN("n1")}}))(t); len(started.Failures) != 1 ||
		*started.Failures[0].Reason != "DRAINING" {
		t.Errorf("StartTask on a draining instance: failures %v", started.Failures)
	}
	out = apitest.Must(set("ACTIVE", instanceARN("n1")))(t)
	if *out.ContainerInstances[0].Status != "ACTIVE" {
		t.Errorf("ACTIVE again: %v", out.ContainerInstances)
	}

	// A forced deregistration stops the tasks. The instance stays INACTIVE until its server starts again.
	wantError(api.DeregisterContainerInstance(ctx, &sdk.DeregisterContainerInstanceInput{
		ContainerInstance: aws.String(instanceARN("n2"))}))(t, "InvalidParameter: Found running tasks on the instance.")
	gone := apitest.Must(api.DeregisterContainerInstance(ctx, &sdk.DeregisterContainerInstanceInput{
		ContainerInstance: aws.String(instanceARN("n2")), Force: aws.Bool(true)}))(t)
	if *gone.ContainerInstance.Status != "INACTIVE" || gone.ContainerInstance.AgentConnected {
		t.Errorf("status of the deregistered instance: %s", *gone.ContainerInstance.Status)
	}
	for _, row := range task.TasksOn(api.db.Snapshot(), "n2") {
		if row.Desired != task.DesiredStopped || row.StopCode != "UserInitiated" ||
			row.StoppedReason != "Container instance deregistration forced by user" ||
			row.Observed.State == task.Stopped {
			t.Errorf("task of the deregistered instance: desired %s, code %s, reason %q, state %s",
				row.Desired, row.StopCode, row.StoppedReason, row.Observed.State)
		}
	}
	listed, status := api.listInstances(sdk.ListContainerInstancesInput{}), *api.describeInstance("n2").Status
	if listed != "n1" || status != "INACTIVE" {
		t.Errorf("container instances %s, status of n2 %s, want n1 and INACTIVE", listed, status)
	}
	out = apitest.Must(set("ACTIVE", instanceARN("n2")))(t)
	if len(out.Failures) != 1 || *out.Failures[0].Reason != "INACTIVE" {
		t.Errorf("state change of an inactive instance: %v, failures %v", out.ContainerInstances, out.Failures)
	}
	api.update(func(tx *store.Tx) error { task.ReactivateInstances(tx, "n2"); return nil })
	if got := api.listInstances(sdk.ListContainerInstancesInput{}); got != "n1 n2" {
		t.Errorf("container instances after the server has started again: %s", got)
	}
}

// TestDeregisterLostInstance checks that a forced deregistration marks the tasks of a lost node as stopped: its agent
// can no longer stop them.
func TestDeregisterLostInstance(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	leave := api.joinNode(task.Node{Name: "n1", Runtime: "process", Started: time.Now()})
	api.registerDefinition("job", types.NetworkModeBridge)
	ran := apitest.Must(api.RunTask(ctx, &sdk.RunTaskInput{TaskDefinition: aws.String("job")}))(t)
	leave()
	apitest.Must(api.DeregisterContainerInstance(ctx, &sdk.DeregisterContainerInstanceInput{
		ContainerInstance: aws.String(instanceARN("n1")), Force: aws.Bool(true)}))(t)
	if got := apitest.Must(api.DescribeTasks(ctx, &sdk.DescribeTasksInput{Tasks: []string{*ran.Tasks[0].TaskArn}}))(
		t).Tasks[0]; *got.LastStatus != "STOPPED" ||
		*got.StoppedReason != "Container instance deregistration forced by user" {
		t.Errorf("task of the lost node: status %s, reason %q", *got.LastStatus, aws.ToString(got.StoppedReason))
	}
}

func TestAttributes(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.addNode("n1")
	api.addNode("n2")
	at := func(name, value, target string) types.Attribute {
		return types.Attribute{Name: &name, Value: aws.String(value), TargetType: types.TargetTypeContainerInstance,
			TargetId: &target}
	}
	put := func(as ...types.Attribute) (*sdk.PutAttributesOutput, error) {
		return api.PutAttributes(ctx, &sdk.PutAttributesInput{Attributes: as})
	}
	out := apitest.Must(put(at("stack", "prod", task.ContainerInstanceID("n1")), at("rack", "r 1", instanceARN("n1")),
		at("rack", "r2", instanceARN("n2"))))(t)
	if d := diff([]types.Attribute{at("stack", "prod", instanceARN("n1")), at("rack", "r 1", instanceARN("n1")),
		at("rack", "r2", instanceARN("n2"))}, out.Attributes); d != "" {
		t.Errorf("PutAttributes (-want +got):\n%s", d)
	}
	filter := aws.String("attribute:rack == 'r 1'")
	if got := api.listInstances(sdk.ListContainerInstancesInput{Filter: filter}); got != "n1" {
		t.Errorf("instances with the attribute: %s", got)
	}
	list := func(name, value *string) []types.Attribute {
		t.Helper()
		return apitest.Must(api.ListAttributes(ctx, &sdk.ListAttributesInput{TargetType: types.TargetTypeContainerInstance,
			AttributeName: name, AttributeValue: value}))(t).Attributes
	}
	if got := list(aws.String("rack"), nil); len(got) != 2 {
		t.Errorf("ListAttributes rack: %v", got)
	}
	if d := diff([]types.Attribute{at("rack", "r2", instanceARN("n2"))},
		list(aws.String("rack"), aws.String("r2"))); d != "" {
		t.Errorf("ListAttributes by value (-want +got):\n%s", d)
	}
	if got := len(list(aws.String("ecs.os-type"), nil)); got != 2 {
		t.Errorf("%d values of the built-in attribute", got)
	}
	if d := diff([]types.Attribute{at("rack", "r2", instanceARN("n2"))},
		apitest.Must(api.DeleteAttributes(ctx, &sdk.DeleteAttributesInput{Attributes: []types.Attribute{
			{Name: aws.String("rack"), TargetId: aws.String(instanceARN("n2"))},
			{Name: aws.String("none"), TargetId: aws.String(instanceARN("n2"))},
		}}))(t).Attributes); d != "" {
		t.Errorf("DeleteAttributes (-want +got):\n%s", d)
	}
	if got := list(aws.String("rack"), nil); len(got) != 1 {
		t.Errorf("ListAttributes rack: %v", got)
	}

	n1 := instanceARN("n1")
	for _, tc := range []struct {
		in   []types.Attribute
		want string
	}{
		{nil, "InvalidParameter: Between 1 and 10 attributes can be given at once"},
		{[]types.Attribute{at("a b", "", n1)}, "InvalidParameter: Invalid attribute name \"a b\"..."},
		{[]types.Attribute{at("a", " b", n1)}, "InvalidParameter: Invalid value of the attribute a..."},
		{[]types.Attribute{at("ecs.os-type", "windows", n1)},
			"InvalidParameter: The attribute ecs.os-type is one of Amazon ECS's own and cannot be changed"},
		{[]types.Attribute{{Name: aws.String("a"), TargetId: aws.String("short")}},
			"InvalidParameter: The attribute a has a short targetId and therefore needs a targetType"},
		{[]types.Attribute{{Name: aws.String("a")}}, "InvalidParameter: The attribute a has no targetId"},
		{[]types.Attribute{at("fine", "", n1), at("a", "", "none")},
			"TargetNotFound: The specified target was not found: none"},
	} {
		if tc.in == nil {
			tc.in = []types.Attribute{}
		}
		wantError(put(tc.in...))(t, tc.want)
	}
	if got := list(aws.String("fine"), nil); len(got) != 0 {
		t.Errorf("a rejected call wrote %v", got)
	}
	var many []types.Attribute
	for i := range 9 {
		many = append(many, at(fmt.Sprint("a", i), "", n1))
	}
	wantError(put(many...))(t,
		"AttributeLimitExceeded: A container instance can have 10 custom attributes; with these it would have 11.")

	apitest.Must(api.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: &n1, Tags: tagged("team=a")}))(t)
	if d := diff(tagged("team=a"), api.describeInstance("n1", types.ContainerInstanceFieldTags).Tags); d != "" {
		t.Errorf("tags (-want +got):\n%s", d)
	}
}

package ecs_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// TestDeleteTaskDefinitions checks that a deleted revision can be described until nothing uses it, and that its number
// is not used again.
func TestDeleteTaskDefinitions(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	for range 3 {
		api.registerDefinition("web", types.NetworkModeBridge)
	}
	api.createTask(task.Task{ID: task.ID(id(1)), Family: "web", Revision: 1, Observed: task.Observed{State: task.Running}})
	for _, revision := range []string{"web:1", "web:2"} {
		apitest.Must(api.DeregisterTaskDefinition(ctx, &sdk.DeregisterTaskDefinitionInput{TaskDefinition: &revision}))(t)
	}
	out := apitest.Must(api.DeleteTaskDefinitions(ctx, &sdk.DeleteTaskDefinitionsInput{TaskDefinitions: []string{
		"web:1", arns + "task-definition/web:2", "web:3", "web:4", "web", arns + "cluster/web",
	}}))(t)
	for _, d := range out.TaskDefinitions {
		if d.Status != types.TaskDefinitionStatusDeleteInProgress || d.DeleteRequestedAt == nil || d.DeregisteredAt == nil {
			t.Errorf("%s is %s, deletion requested at %v", *d.TaskDefinitionArn, d.Status, d.DeleteRequestedAt)
		}
	}
	const invalid = "The specified task definition identifier is invalid. Specify a valid name or ARN and try again."
	failures := []types.Failure{
		{Arn: aws.String(arns + "task-definition/web:3"),
			Reason: aws.String("The specified task definition is still in ACTIVE status. " +
				"Please deregister the target and try again.")},
		{Arn: aws.String(arns + "task-definition/web:4"),
			Reason: aws.String("The specified task definition does not exist. " +
				"Specify a valid account, family, revision and try again.")},
		{Arn: aws.String("web"), Reason: aws.String(invalid)},
		{Arn: aws.String(arns + "cluster/web"), Reason: aws.String(invalid)},
	}
	if d := diff(failures, out.Failures); d != "" || len(out.TaskDefinitions) != 2 {
		t.Errorf("%d revisions deleted, failures (-want +got):\n%s", len(out.TaskDefinitions), d)
	}
	list := func(status types.TaskDefinitionStatus) string {
		t.Helper()
		return strings.ReplaceAll(strings.Join(apitest.Must(api.ListTaskDefinitions(ctx,
			&sdk.ListTaskDefinitionsInput{Status: status}))(t).TaskDefinitionArns, " "), arns+"task-definition/", "")
	}
	if s := list("ACTIVE") + ", " + list("INACTIVE") + ", " + list("DELETE_IN_PROGRESS"); s != "web:3, , web:1 web:2" {
		t.Errorf("active, inactive and deleted revisions: %s", s)
	}
	if again := apitest.Must(api.DeleteTaskDefinitions(ctx, &sdk.DeleteTaskDefinitionsInput{
		TaskDefinitions: []string{"web:1"}}))(t); len(again.TaskDefinitions) != 1 {
		t.Errorf("repeated deletion: failures %v", again.Failures)
	}
	api.addNode("n1")
	wantError(api.RunTask(ctx, &sdk.RunTaskInput{TaskDefinition: aws.String("web:1")}))(t,
		"Client: TaskDefinition is inactive")

	reap := func() {
		t.Helper()
		api.update(func(tx *store.Tx) error { task.ReapDefinitions(tx, 10); return nil })
	}
	reap()
	if s := list("DELETE_IN_PROGRESS"); s != "web:1" {
		t.Errorf("revisions that remain while a task of web:1 can be described: %q", s)
	}
	api.describeTask(1)
	api.update(func(tx *store.Tx) error {
		if err := task.UpdateTask(tx, task.Ref{Scope: api.sc, Cluster: "default", ID: task.ID(id(1))},
			func(t *task.Task) bool {
				t.Observed.State, t.Observed.StoppedAt = task.Stopped, &epoch
				return true
			}); err != nil {
			return err
		}
		_, err := task.DeregisterDefinition(tx, api.sc, "web", 3, epoch)
		return err
	})
	api.update(func(tx *store.Tx) error { task.ReapTasks(tx, epoch.Add(task.StoppedRetention), 10); return nil })
	apitest.Must(api.DeleteTaskDefinitions(ctx, &sdk.DeleteTaskDefinitionsInput{TaskDefinitions: []string{"web:3"}}))(t)
	reap()
	wantError(api.DescribeTaskDefinition(ctx, &sdk.DescribeTaskDefinitionInput{TaskDefinition: aws.String("web:1")}))(t,
		"Client: Unable to describe task definition.")
	for _, status := range []types.TaskDefinitionFamilyStatus{"", "ALL", "INACTIVE", "ACTIVE"} {
		families := apitest.Must(api.ListTaskDefinitionFamilies(ctx, &sdk.ListTaskDefinitionFamiliesInput{
			Status: status}))(t).Families
		if len(families) != 0 {
			t.Errorf("families with status %q after the deletion of all revisions: %v", status, families)
		}
	}
	if arn := api.registerDefinition("web", types.NetworkModeBridge); arn != arns+"task-definition/web:4" {
		t.Errorf("the next revision is %s", arn)
	}
	wantError(api.DeleteTaskDefinitions(ctx, &sdk.DeleteTaskDefinitionsInput{TaskDefinitions: []string{}}))(t,
		"InvalidParameter: size of TaskDefinition references list must be greater than 0")
	wantError(api.DeleteTaskDefinitions(ctx, &sdk.DeleteTaskDefinitionsInput{TaskDefinitions: make([]string, 11)}))(t,
		"InvalidParameter: Size of TaskDefinition references list cannot exceed 10")
}

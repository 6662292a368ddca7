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

// protection formats an answer in one line: the last digit of each task with the minutes of its protection, then the
// failures with their reasons.
func protection(now time.Time, tasks []types.ProtectedTask, failures []types.Failure) string {
	var all []string
	for _, p := range tasks {
		s := (*p.TaskArn)[len(*p.TaskArn)-1:] + " off"
		if p.ProtectionEnabled {
			s = fmt.Sprintf("%s %d min", s[:1], int(p.ExpirationDate.Sub(now).Round(time.Minute).Minutes()))
		}
		all = append(all, s)
	}
	for _, f := range failures {
		all = append(all, (*f.Arn)[len(*f.Arn)-1:]+" "+*f.Reason)
	}
	return strings.Join(all, ", ")
}

func TestTaskProtection(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.createService("default", "web", func(in *sdk.CreateServiceInput) { in.DesiredCount = aws.Int32(2) })
	for n := range 4 {
		api.createTask(task.Task{ID: task.ID(id(n)), Service: "web", Family: "web",
			Observed: task.Observed{State: task.Running}})
	}
	api.createTask(task.Task{ID: task.ID(id(8)), Family: "web", Observed: task.Observed{State: task.Running}})
	api.update(func(tx *store.Tx) error {
		_, _, err := task.Stop(tx, task.Ref{Scope: api.sc, Cluster: "default", ID: task.ID(id(3))},
			task.StopCause{Code: task.UserInitiated}, epoch)
		return err
	})
	get := func(tasks ...string) string {
		t.Helper()
		out := apitest.Must(api.GetTaskProtection(ctx, &sdk.GetTaskProtectionInput{Cluster: aws.String("default"),
			Tasks: tasks}))(t)
		return protection(epoch, out.ProtectedTasks, out.Failures)
	}
	protect := func(on bool, minutes int32, tasks ...string) string {
		t.Helper()
		in := &sdk.UpdateTaskProtectionInput{Cluster: aws.String("default"), Tasks: tasks, ProtectionEnabled: on}
		if minutes != 0 {
			in.ExpiresInMinutes = &minutes
		}
		out := apitest.Must(api.UpdateTaskProtection(ctx, in))(t)
		return protection(epoch, out.ProtectedTasks, out.Failures)
	}
	for _, tc := range []struct{ what, got, want string }{
		{"not protected", get(id(0)), "0 off"},
		{"protected", protect(true, 0, id(0), arns+"task/default/"+id(1)), "0 120 min, 1 120 min"},
		{"each call resets the expiry", protect(true, 5, id(0)), "0 5 min"},
		{"read", get(id(0), id(1), id(2)), "0 5 min, 1 120 min, 2 off"},
		{"all protected tasks", get(), "0 5 min, 1 120 min"},
		{"more tasks than the desired count", protect(true, 5, id(2)), "2 DEPLOYMENT_BLOCKED"},
		{"one ended, another started",
			protect(false, 0, id(1)) + "; " + protect(true, 2880, id(2)), "1 off; 2 2880 min"},
		{"stopping, missing, standalone", protect(true, 5, id(3), id(7), id(8)),
			"3 TASK_NOT_VALID, 7 MISSING, 8 TASK_NOT_VALID"},
		{"read stopping, missing, standalone", get(id(3), id(7), id(8)),
			"3 TASK_NOT_VALID, 7 MISSING, 8 TASK_NOT_VALID"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %s, want %s", tc.what, tc.got, tc.want)
		}
	}
	api.clock.Advance(6 * time.Minute)
	if got := get(id(0), id(2)); got != "0 off, 2 2880 min" {
		t.Errorf("protection after its expiry: %s", got)
	}
	for _, tc := range []struct {
		want string
		in   sdk.UpdateTaskProtectionInput
	}{
		{"InvalidParameter: Tasks cannot be empty.", sdk.UpdateTaskProtectionInput{Tasks: []string{}}},
		{"InvalidParameter: At most 10 tasks can be named at once",
			sdk.UpdateTaskProtectionInput{Tasks: make([]string, 11)}},
		{"InvalidParameter: expiresInMinutes must be between 1 and 2880",
			sdk.UpdateTaskProtectionInput{ProtectionEnabled: true, ExpiresInMinutes: aws.Int32(0)}},
		{"InvalidParameter: expiresInMinutes must be between 1 and 2880",
			sdk.UpdateTaskProtectionInput{ProtectionEnabled: true, ExpiresInMinutes: aws.Int32(2881)}},
		{"InvalidParameter: expiresInMinutes must be between 1 and 2880",
			sdk.UpdateTaskProtectionInput{ProtectionEnabled: true, ExpiresInMinutes: aws.Int32(307445736)}},
		{"ClusterNotFound: Cluster not found.", sdk.UpdateTaskProtectionInput{Cluster: aws.String("none")}},
	} {
		if tc.in.Cluster == nil {
			tc.in.Cluster = aws.String("default")
		}
		if tc.in.Tasks == nil {
			tc.in.Tasks = []string{id(0)}
		}
		wantError(api.UpdateTaskProtection(ctx, &tc.in))(t, tc.want)
	}
}

package ecs

import (
	"context"
	"errors"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/api/ecs/render"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// protectionResult is the result of a call about the protection of tasks.
type protectionResult struct {
	tasks    []types.ProtectedTask
	failures []types.Failure
}

// getTaskProtection returns the protection of the tasks that the request names. If it names none, it returns all
// protected tasks of the cluster.
func (a *api) getTaskProtection(ctx context.Context, in *sdk.GetTaskProtectionInput) (
	*sdk.GetTaskProtectionOutput, error,
) {
	r, now := a.db.Snapshot(), a.now()
	cluster, err := activeCluster(r, awsapi.ScopeFrom(ctx), in.Cluster)
	switch {
	case err != nil:
		return nil, err
	case len(in.Tasks) > 100:
		return nil, ecserr.Invalid("At most 100 tasks can be named at once")
	}
	result, err := forEachProtected(cluster, in.Tasks, now, func(ref task.Ref) (*task.Task, error) {
		return task.Protectable(r, ref)
	})
	if err != nil {
		return nil, err
	}
	if len(in.Tasks) == 0 {
		task.ScanTasks(r, cluster, "", func(t *task.Task) bool {
			if t.Live() && t.Protected(now) {
				result.tasks = append(result.tasks, render.ProtectedTask(t, now))
			}
			return true
		})
	}
	return &sdk.GetTaskProtectionOutput{ProtectedTasks: result.tasks, Failures: result.failures}, nil
}

func (a *api) updateTaskProtection(ctx context.Context, in *sdk.UpdateTaskProtectionInput) (
	*sdk.UpdateTaskProtectionOutput, error,
) {
	duration := protectionDuration(in)
	cluster, err := identifier.ParseCluster(awsapi.ScopeFrom(ctx), in.Cluster)
	switch {
	case err != nil:
		return nil, err
	case len(in.Tasks) == 0:
		return nil, ecserr.Invalid("Tasks cannot be empty.")
	case len(in.Tasks) > 10:
		return nil, ecserr.Invalid("At most 10 tasks can be named at once")
	case in.ProtectionEnabled && (duration < task.MinProtection || duration > task.MaxProtection):
		return nil, ecserr.Invalid("expiresInMinutes must be between 1 and 2880")
	}
	now := a.now()
	result, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (protectionResult, error) {
		if _, err := task.GetCluster(tx, cluster.Scope, cluster.Name); err != nil {
			return protectionResult{}, err
		}
		return forEachProtected(cluster, in.Tasks, now, func(ref task.Ref) (*task.Task, error) {
			return task.Protect(tx, ref, duration, now)
		})
	})
	if err != nil {
		return nil, err
	}
	return &sdk.UpdateTaskProtectionOutput{ProtectedTasks: result.tasks, Failures: result.failures}, nil
}

// protectionDuration returns the time for which a request protects its tasks; 0 ends the protection.
func protectionDuration(in *sdk.UpdateTaskProtectionInput) time.Duration {
	switch {
	case !in.ProtectionEnabled:
		return 0
	case in.ExpiresInMinutes == nil:
		return task.DefaultProtection
	}
	minutes := max(-1, min(*in.ExpiresInMinutes, 1<<20)) // a larger number would overflow
	return time.Duration(minutes) * time.Minute
}

// forEachProtected calls fn with each task that a request names, and returns the protection of the tasks and the
// failures of those that cannot be protected.
func forEachProtected(
	cluster task.ClusterRef, tasks []string, now time.Time, fn func(task.Ref) (*task.Task, error),
) (protectionResult, error) {
	result := protectionResult{tasks: []types.ProtectedTask{}, failures: []types.Failure{}}
	for _, s := range tasks {
		id, err := identifier.ParseIn(cluster, identifier.Task, s)
		if err != nil {
			return result, err
		}
		t, err := fn(id.TaskRef())
		reason := task.ProtectionFailure(err)
		switch {
		case err == nil:
			result.tasks = append(result.tasks, render.ProtectedTask(t, now))
		case reason == "":
			return result, err
		default:
			failure := missing(id, id.TaskRef().ARN())
			failure.Reason = &reason
			if f := (*fault.Error)(nil); errors.As(err, &f) && f.Kind != fault.NotFound {
				failure.Detail = &f.Msg
			}
			result.failures = append(result.failures, failure)
		}
	}
	return result, nil
}

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
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// protected is what a call says of the tasks that it names.
type protected struct {
	tasks    []types.ProtectedTask
	failures []types.Failure
}

// getTaskProtection without tasks answers all of the cluster that are protected.
func (a *api) getTaskProtection(ctx context.Context, in *sdk.GetTaskProtectionInput) (*sdk.GetTaskProtectionOutput, error) {
	sc, r, now := awsapi.ScopeFrom(ctx), a.db.Snapshot(), a.now()
	cluster, err := activeCluster(r, sc, in.Cluster)
	switch {
	case err != nil:
		return nil, err
	case len(in.Tasks) > 100:
		return nil, ecserr.Invalid("At most 100 tasks can be named at once")
	}
	p, err := protection(sc, cluster, in.Tasks, now, func(id string) (*task.Task, error) {
		return task.Protectable(r, task.Ref{Scope: sc, Cluster: cluster, ID: task.ID(id)})
	})
	if err != nil {
		return nil, err
	}
	if len(in.Tasks) == 0 {
		task.ScanTasks(r, task.ClusterRef{Scope: sc, Name: cluster}, "", func(t *task.Task) bool {
			if t.Live() && t.Protected(now) {
				p.tasks = append(p.tasks, render.ProtectedTask(t, now))
			}
			return true
		})
	}
	return &sdk.GetTaskProtectionOutput{ProtectedTasks: p.tasks, Failures: p.failures}, nil
}

func (a *api) updateTaskProtection(ctx context.Context, in *sdk.UpdateTaskProtectionInput) (*sdk.UpdateTaskProtectionOutput, error) {
	sc, d := awsapi.ScopeFrom(ctx), time.Duration(0)
	if in.ProtectionEnabled {
		d = task.DefaultProtection
		if in.ExpiresInMinutes != nil {
			d = time.Duration(max(-1, min(*in.ExpiresInMinutes, 1<<20))) * time.Minute // beyond, it could not be counted
		}
	}
	cluster, err := identifier.ClusterName(sc, in.Cluster)
	switch {
	case err != nil:
		return nil, err
	case len(in.Tasks) == 0:
		return nil, ecserr.Invalid("Tasks cannot be empty.")
	case len(in.Tasks) > 10:
		return nil, ecserr.Invalid("At most 10 tasks can be named at once")
	case in.ProtectionEnabled && (d < task.MinProtection || d > task.MaxProtection):
		return nil, ecserr.Invalid("expiresInMinutes must be between 1 and 2880")
	}
	now := a.now()
	p, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (protected, error) {
		if _, err := task.GetCluster(tx, sc, cluster); err != nil {
			return protected{}, err
		}
		return protection(sc, cluster, in.Tasks, now, func(id string) (*task.Task, error) {
			return task.Protect(tx, task.Ref{Scope: sc, Cluster: cluster, ID: task.ID(id)}, d, now)
		})
	})
	if err != nil {
		return nil, err
	}
	return &sdk.UpdateTaskProtectionOutput{ProtectedTasks: p.tasks, Failures: p.failures}, nil
}

// protection asks of each task and keeps apart those that cannot be protected.
func protection(sc arn.Scope, cluster string, ids []string, now time.Time, ask func(id string) (*task.Task, error)) (protected, error) {
	p := protected{tasks: []types.ProtectedTask{}, failures: []types.Failure{}}
	for _, s := range ids {
		id, err := identifier.ParseIn(sc, cluster, "task", s)
		if err != nil {
			return p, err
		}
		t, err := ask(id.Name)
		reason := task.ProtectionFailure(err)
		switch {
		case err == nil:
			p.tasks = append(p.tasks, render.ProtectedTask(t, now))
		case reason == "":
			return p, err
		default:
			named := task.Ref{Scope: sc, Cluster: cluster, ID: task.ID(id.Name)}
			failure := missing(id, named.ARN())
			failure.Reason = &reason
			if f := (*fault.Error)(nil); errors.As(err, &f) && f.Kind != fault.NotFound {
				failure.Detail = &f.Msg
			}
			p.failures = append(p.failures, failure)
		}
	}
	return p, nil
}

package ecs

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/api/ecs/render"
	"github.com/bakingclouds/rollcall/internal/api/ecs/taskdef"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

func (a *api) registerTaskDefinition(ctx context.Context, in *sdk.RegisterTaskDefinitionInput) (
	*sdk.RegisterTaskDefinitionOutput, error,
) {
	tags, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	if err := taskdef.Check(in); err != nil {
		return nil, err
	}
	request := *in
	request.Tags = nil // TagResource changes the tags of the row
	row := taskdef.NewRow(&request)
	row.Tags = tags
	if len(row.Sent) > taskdef.MaxSize {
		return nil, ecserr.Client("The task definition has %d bytes; at most %d are allowed.",
			len(row.Sent), taskdef.MaxSize)
	}
	scope := awsapi.ScopeFrom(ctx)
	now := a.now()
	registered, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Definition, error) {
		return task.RegisterDefinition(tx, scope, row, now), nil
	})
	if err != nil {
		return nil, err
	}
	view, err := taskdef.Render(registered)
	return &sdk.RegisterTaskDefinitionOutput{TaskDefinition: view, Tags: render.Tags(registered.Tags)}, err
}

func (a *api) describeTaskDefinition(ctx context.Context, in *sdk.DescribeTaskDefinitionInput) (
	*sdk.DescribeTaskDefinitionOutput, error,
) {
	scope := awsapi.ScopeFrom(ctx)
	name, err := identifier.ParseDefinition(scope, aws.ToString(in.TaskDefinition))
	if err != nil {
		return nil, err
	}
	row, err := task.GetDefinition(a.db.Snapshot(), scope, name.Family, name.Revision)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeTaskDefinitionOutput{Tags: []types.Tag{}}
	if slices.Contains(in.Include, types.TaskDefinitionFieldTags) {
		out.Tags = render.Tags(row.Tags)
	}
	out.TaskDefinition, err = taskdef.Render(row)
	return out, err
}

// activeDefinition returns the definition that new tasks are to run, which must be active.
func activeDefinition(r store.Reader, scope arn.Scope, s string) (*task.Definition, error) {
	name, err := identifier.ParseDefinition(scope, s)
	if err != nil {
		return nil, err
	}
	row, err := task.GetDefinition(r, scope, name.Family, name.Revision)
	switch {
	case fault.Is(err, fault.NotFound):
		return nil, ecserr.Client("TaskDefinition not found.")
	case err != nil:
		return nil, err
	case row.Status != task.Active:
		return nil, ecserr.Client("TaskDefinition is inactive")
	}
	return row, nil
}

func (a *api) deregisterTaskDefinition(ctx context.Context, in *sdk.DeregisterTaskDefinitionInput) (
	*sdk.DeregisterTaskDefinitionOutput, error,
) {
	scope := awsapi.ScopeFrom(ctx)
	name, err := identifier.ParseDefinition(scope, aws.ToString(in.TaskDefinition))
	if err != nil {
		return nil, err
	}
	if name.Revision == 0 {
		return nil, ecserr.Client("Revision is missing.")
	}
	now := a.now()
	row, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Definition, error) {
		return task.DeregisterDefinition(tx, scope, name.Family, name.Revision, now)
	})
	if err != nil {
		return nil, err
	}
	view, err := taskdef.Render(row)
	return &sdk.DeregisterTaskDefinitionOutput{TaskDefinition: view}, err
}

// deletedDefinitions is the result of a call that deletes task definitions.
type deletedDefinitions struct {
	rows     []*task.Definition
	failures []types.Failure
}

// deleteTaskDefinitions deletes inactive revisions. It returns a failure for each revision that it cannot delete.
func (a *api) deleteTaskDefinitions(ctx context.Context, in *sdk.DeleteTaskDefinitionsInput) (
	*sdk.DeleteTaskDefinitionsOutput, error,
) {
	scope := awsapi.ScopeFrom(ctx)
	switch {
	case len(in.TaskDefinitions) == 0:
		return nil, ecserr.Invalid("size of TaskDefinition references list must be greater than 0")
	case len(in.TaskDefinitions) > 10:
		return nil, ecserr.Invalid("Size of TaskDefinition references list cannot exceed 10")
	}
	now := a.now()
	deleted, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (deletedDefinitions, error) {
		return deleteDefinitions(tx, scope, in.TaskDefinitions, now)
	})
	if err != nil {
		return nil, err
	}
	out := &sdk.DeleteTaskDefinitionsOutput{
		TaskDefinitions: []types.TaskDefinition{}, Failures: codec.OrEmpty(deleted.failures),
	}
	for _, row := range deleted.rows {
		view, err := taskdef.Render(row)
		if err != nil {
			return nil, err
		}
		out.TaskDefinitions = append(out.TaskDefinitions, *view)
	}
	return out, nil
}

func deleteDefinitions(tx *store.Tx, scope arn.Scope, definitions []string, now time.Time) (
	deletedDefinitions, error,
) {
	var result deletedDefinitions
	fail := func(arn, reason string) {
		result.failures = append(result.failures, types.Failure{Arn: &arn, Reason: &reason})
	}
	for _, s := range definitions {
		name, err := identifier.ParseDefinition(scope, s)
		if err != nil || name.Revision == 0 {
			fail(s, "The specified task definition identifier is invalid. Specify a valid name or ARN and try again.")
			continue
		}
		row, err := task.DeleteDefinition(tx, scope, name.Family, name.Revision, now)
		if f := (*fault.Error)(nil); errors.As(err, &f) {
			fail(task.DefinitionARN(scope, name.Family, name.Revision), f.Msg)
			continue
		}
		if err != nil {
			return result, err
		}
		result.rows = append(result.rows, row)
	}
	return result, nil
}

func (a *api) listTaskDefinitions(ctx context.Context, in *sdk.ListTaskDefinitionsInput) (
	*sdk.ListTaskDefinitionsOutput, error,
) {
	page, err := newPage("ListTaskDefinitions", in.MaxResults, in.NextToken, 100, 100)
	if err := ecserr.First(
		err, ecserr.OneOf("status", in.Status, in.Status.Values()), ecserr.OneOf("sort", in.Sort, in.Sort.Values()),
	); err != nil {
		return nil, err
	}
	status := string(in.Status)
	if status == "" {
		status = task.Active
	}
	scope := awsapi.ScopeFrom(ctx)
	var rows []*task.Definition
	task.ScanDefinitions(a.db.Snapshot(), scope, aws.ToString(in.FamilyPrefix), func(d *task.Definition) bool {
		if d.Status == status {
			rows = append(rows, d)
		}
		return true
	})
	// In the order of the keys, web-api comes before web.
	compare := identifier.CompareDefinitions
	if in.Sort == types.SortOrderDesc {
		compare = func(a, b identifier.Definition) int { return identifier.CompareDefinitions(b, a) }
	}
	slices.SortFunc(rows, func(a, b *task.Definition) int {
		return compare(identifier.DefinitionOf(a), identifier.DefinitionOf(b))
	})
	var after identifier.Definition
	if page.after != "" {
		if after, err = identifier.ParseDefinition(scope, page.after); err != nil {
			return nil, err
		}
	}
	for _, row := range rows {
		name := identifier.DefinitionOf(row)
		if page.after != "" && compare(name, after) <= 0 {
			continue
		}
		if !page.Add(name.String(), row.ARN()) {
			break
		}
	}
	return &sdk.ListTaskDefinitionsOutput{TaskDefinitionArns: page.Items, NextToken: page.next()}, nil
}

func (a *api) listTaskDefinitionFamilies(ctx context.Context, in *sdk.ListTaskDefinitionFamiliesInput) (
	*sdk.ListTaskDefinitionFamiliesOutput, error,
) {
	page, err := newPage("ListTaskDefinitionFamilies", in.MaxResults, in.NextToken, 100, 100)
	if err := ecserr.First(err, ecserr.OneOf("status", in.Status, in.Status.Values())); err != nil {
		return nil, err
	}
	scope, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	task.ScanFamilies(r, scope, aws.ToString(in.FamilyPrefix), page.after, func(family string) bool {
		exists, active := task.HasRevisions(r, scope, family)
		switch {
		case !exists, // all revisions were deleted
			in.Status == types.TaskDefinitionFamilyStatusActive && !active,
			in.Status == types.TaskDefinitionFamilyStatusInactive && active:
			return true
		}
		return page.Add(family, family)
	})
	return &sdk.ListTaskDefinitionFamiliesOutput{Families: page.Items, NextToken: page.next()}, nil
}

package ecs

import (
	"context"
	"errors"
	"slices"

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

func (a *api) registerTaskDefinition(ctx context.Context, in *sdk.RegisterTaskDefinitionInput) (*sdk.RegisterTaskDefinitionOutput, error) {
	tags, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	if err := taskdef.Check(in); err != nil {
		return nil, err
	}
	sent := *in
	sent.Tags = nil // the row has them, and they change
	row := taskdef.NewRow(&sent)
	row.Tags = tags
	if len(row.Sent) > taskdef.MaxSize {
		return nil, ecserr.Client("The task definition has %d bytes; at most %d are allowed.", len(row.Sent), taskdef.MaxSize)
	}
	sc := awsapi.ScopeFrom(ctx)
	now := a.now()
	d, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Definition, error) {
		return task.RegisterDefinition(tx, sc, row, now), nil
	})
	if err != nil {
		return nil, err
	}
	view, err := taskdef.Render(d)
	return &sdk.RegisterTaskDefinitionOutput{TaskDefinition: view, Tags: render.Tags(d.Tags)}, err
}

func (a *api) describeTaskDefinition(ctx context.Context, in *sdk.DescribeTaskDefinitionInput) (*sdk.DescribeTaskDefinitionOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	ref, err := identifier.ParseDefinition(sc, aws.ToString(in.TaskDefinition))
	if err != nil {
		return nil, err
	}
	d, err := task.GetDefinition(a.db.Snapshot(), sc, ref.Family, ref.Revision)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeTaskDefinitionOutput{Tags: []types.Tag{}}
	if slices.Contains(in.Include, types.TaskDefinitionFieldTags) {
		out.Tags = render.Tags(d.Tags)
	}
	out.TaskDefinition, err = taskdef.Render(d)
	return out, err
}

func (a *api) deregisterTaskDefinition(ctx context.Context, in *sdk.DeregisterTaskDefinitionInput) (*sdk.DeregisterTaskDefinitionOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	ref, err := identifier.ParseDefinition(sc, aws.ToString(in.TaskDefinition))
	if err != nil {
		return nil, err
	}
	if ref.Revision == 0 {
		return nil, ecserr.Client("Revision is missing.")
	}
	now := a.now()
	d, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Definition, error) {
		return task.DeregisterDefinition(tx, sc, ref.Family, ref.Revision, now)
	})
	if err != nil {
		return nil, err
	}
	view, err := taskdef.Render(d)
	return &sdk.DeregisterTaskDefinitionOutput{TaskDefinition: view}, err
}

// deleteTaskDefinitions lets inactive revisions go; each that cannot has a failure with a sentence.
func (a *api) deleteTaskDefinitions(ctx context.Context, in *sdk.DeleteTaskDefinitionsInput) (*sdk.DeleteTaskDefinitionsOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	switch {
	case len(in.TaskDefinitions) == 0:
		return nil, ecserr.Invalid("size of TaskDefinition references list must be greater than 0")
	case len(in.TaskDefinitions) > 10:
		return nil, ecserr.Invalid("Size of TaskDefinition references list cannot exceed 10")
	}
	type result struct {
		rows     []*task.Definition
		failures []types.Failure
	}
	now := a.now()
	got, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (result, error) {
		var got result
		for _, s := range in.TaskDefinitions {
			fail := func(reason string) {
				got.failures = append(got.failures, types.Failure{Arn: aws.String(s), Reason: &reason})
			}
			ref, err := identifier.ParseDefinition(sc, s)
			if err != nil || ref.Revision == 0 {
				fail("The specified task definition identifier is invalid. Specify a valid name or ARN and try again.")
				continue
			}
			d, err := task.DeleteDefinition(tx, sc, ref.Family, ref.Revision, now)
			if f := (*fault.Error)(nil); errors.As(err, &f) {
				s = task.DefinitionARN(sc, ref.Family, ref.Revision)
				fail(f.Msg)
				continue
			}
			if err != nil {
				return got, err
			}
			got.rows = append(got.rows, d)
		}
		return got, nil
	})
	if err != nil {
		return nil, err
	}
	out := &sdk.DeleteTaskDefinitionsOutput{TaskDefinitions: []types.TaskDefinition{}, Failures: codec.OrEmpty(got.failures)}
	for _, d := range got.rows {
		view, err := taskdef.Render(d)
		if err != nil {
			return nil, err
		}
		out.TaskDefinitions = append(out.TaskDefinitions, *view)
	}
	return out, nil
}

func (a *api) listTaskDefinitions(ctx context.Context, in *sdk.ListTaskDefinitionsInput) (*sdk.ListTaskDefinitionsOutput, error) {
	page, err := newList("ListTaskDefinitions", in.MaxResults, in.NextToken, 100, 100)
	if err == nil {
		err = ecserr.First(ecserr.OneOf("status", in.Status, in.Status.Values()), ecserr.OneOf("sort", in.Sort, in.Sort.Values()))
	}
	if err != nil {
		return nil, err
	}
	status := string(in.Status)
	if status == "" {
		status = task.Active
	}
	sc := awsapi.ScopeFrom(ctx)
	var ds []*task.Definition
	task.ScanDefinitions(a.db.Snapshot(), sc, aws.ToString(in.FamilyPrefix), func(d *task.Definition) bool {
		if d.Status == status {
			ds = append(ds, d)
		}
		return true
	})
	// The rows lie in the order of their keys, where web-api comes before web.
	order := identifier.CompareDefinitions
	if in.Sort == types.SortOrderDesc {
		order = func(a, b identifier.Definition) int { return identifier.CompareDefinitions(b, a) }
	}
	slices.SortFunc(ds, func(a, b *task.Definition) int { return order(refOf(a), refOf(b)) })
	var behind identifier.Definition
	if page.after != "" {
		if behind, err = identifier.ParseDefinition(sc, page.after); err != nil {
			return nil, err
		}
	}
	for _, d := range ds {
		if page.after != "" && order(refOf(d), behind) <= 0 {
			continue
		}
		if !page.Add(refOf(d).String(), d.ARN()) {
			break
		}
	}
	return &sdk.ListTaskDefinitionsOutput{TaskDefinitionArns: page.Items, NextToken: page.next()}, nil
}

func refOf(d *task.Definition) identifier.Definition {
	return identifier.Definition{Family: d.Family, Revision: d.Revision}
}

func (a *api) listTaskDefinitionFamilies(ctx context.Context, in *sdk.ListTaskDefinitionFamiliesInput) (*sdk.ListTaskDefinitionFamiliesOutput, error) {
	page, err := newList("ListTaskDefinitionFamilies", in.MaxResults, in.NextToken, 100, 100)
	if err == nil {
		err = ecserr.OneOf("status", in.Status, in.Status.Values())
	}
	if err != nil {
		return nil, err
	}
	sc, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	task.ScanFamilies(r, sc, aws.ToString(in.FamilyPrefix), page.after, func(family string) bool {
		have, active := task.HasRevisions(r, sc, family)
		switch {
		case !have, // its revisions are deleted
			in.Status == types.TaskDefinitionFamilyStatusActive && !active,
			in.Status == types.TaskDefinitionFamilyStatusInactive && active:
			return true
		}
		return page.Add(family, family)
	})
	return &sdk.ListTaskDefinitionFamiliesOutput{Families: page.Items, NextToken: page.next()}, nil
}

// activeDefinition finds the definition that new tasks are to run: it must be active.
func activeDefinition(r store.Reader, sc arn.Scope, s string) (*task.Definition, error) {
	ref, err := identifier.ParseDefinition(sc, s)
	if err != nil {
		return nil, err
	}
	def, err := task.GetDefinition(r, sc, ref.Family, ref.Revision)
	switch {
	case fault.Is(err, fault.NotFound):
		return nil, ecserr.Client("TaskDefinition not found.")
	case err != nil:
		return nil, err
	case def.Status != task.Active:
		return nil, ecserr.Client("TaskDefinition is inactive")
	}
	return def, nil
}

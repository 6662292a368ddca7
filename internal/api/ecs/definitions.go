package ecs

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

func (a *api) registerTaskDefinition(ctx context.Context, in *sdk.RegisterTaskDefinitionInput) (*sdk.RegisterTaskDefinitionOutput, error) {
	tags, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	if err := checkDefinition(in); err != nil {
		return nil, err
	}
	sent := *in
	sent.Tags = nil // the row has them, and they change
	row := definitionRow(&sent)
	row.Tags = tags
	if len(row.Sent) > maxDefinition {
		return nil, clientError("The task definition has %d bytes; at most %d are allowed.", len(row.Sent), maxDefinition)
	}
	sc := awsapi.ScopeFrom(ctx)
	d, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Definition, error) {
		return task.RegisterDefinition(tx, sc, row, a.now()), nil
	})
	if err != nil {
		return nil, err
	}
	view, err := definitionView(d)
	return &sdk.RegisterTaskDefinitionOutput{TaskDefinition: view, Tags: tagsView(d.Tags)}, err
}

// maxDefinition is the size of the largest task definition, in bytes (ECS Developer Guide, "Service
// quotas").
const maxDefinition = 64 << 10

func (a *api) describeTaskDefinition(ctx context.Context, in *sdk.DescribeTaskDefinitionInput) (*sdk.DescribeTaskDefinitionOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	ref, err := definitionOf(sc, aws.ToString(in.TaskDefinition))
	if err != nil {
		return nil, err
	}
	d, err := task.GetDefinition(a.db.Snapshot(), sc, ref.family, ref.revision)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeTaskDefinitionOutput{Tags: []types.Tag{}}
	if slices.Contains(in.Include, types.TaskDefinitionFieldTags) {
		out.Tags = tagsView(d.Tags)
	}
	out.TaskDefinition, err = definitionView(d)
	return out, err
}

func (a *api) deregisterTaskDefinition(ctx context.Context, in *sdk.DeregisterTaskDefinitionInput) (*sdk.DeregisterTaskDefinitionOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	ref, err := definitionOf(sc, aws.ToString(in.TaskDefinition))
	if err != nil {
		return nil, err
	}
	if ref.revision == 0 {
		return nil, clientError("Revision is missing.")
	}
	d, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*task.Definition, error) {
		return task.DeregisterDefinition(tx, sc, ref.family, ref.revision, a.now())
	})
	if err != nil {
		return nil, err
	}
	view, err := definitionView(d)
	return &sdk.DeregisterTaskDefinitionOutput{TaskDefinition: view}, err
}

// deleteTaskDefinitions lets inactive revisions go; each that cannot has a failure with a sentence.
func (a *api) deleteTaskDefinitions(ctx context.Context, in *sdk.DeleteTaskDefinitionsInput) (*sdk.DeleteTaskDefinitionsOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	switch {
	case len(in.TaskDefinitions) == 0:
		return nil, invalid("size of TaskDefinition references list must be greater than 0")
	case len(in.TaskDefinitions) > 10:
		return nil, invalid("Size of TaskDefinition references list cannot exceed 10")
	}
	type result struct {
		rows     []*task.Definition
		failures []types.Failure
	}
	got, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (result, error) {
		var got result
		for _, s := range in.TaskDefinitions {
			fail := func(reason string) {
				got.failures = append(got.failures, types.Failure{Arn: aws.String(s), Reason: &reason})
			}
			ref, err := definitionOf(sc, s)
			if err != nil || ref.revision == 0 {
				fail("The specified task definition identifier is invalid. Specify a valid name or ARN and try again.")
				continue
			}
			d, err := task.DeleteDefinition(tx, sc, ref.family, ref.revision, a.now())
			if f := (*fault.Error)(nil); errors.As(err, &f) {
				s = task.DefinitionARN(sc, ref.family, ref.revision)
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
	out := &sdk.DeleteTaskDefinitionsOutput{TaskDefinitions: []types.TaskDefinition{}, Failures: orEmpty(got.failures)}
	for _, d := range got.rows {
		view, err := definitionView(d)
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
		err = first(oneOf("status", in.Status, in.Status.Values()), oneOf("sort", in.Sort, in.Sort.Values()))
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
	order := compareDefinitions
	if in.Sort == types.SortOrderDesc {
		order = func(a, b definitionRef) int { return compareDefinitions(b, a) }
	}
	slices.SortFunc(ds, func(a, b *task.Definition) int { return order(refOf(a), refOf(b)) })
	var behind definitionRef
	if page.after != "" {
		if behind, err = definitionOf(sc, page.after); err != nil {
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

func refOf(d *task.Definition) definitionRef { return definitionRef{d.Family, d.Revision} }

// compareDefinitions orders by family as text and revision as number.
func compareDefinitions(a, b definitionRef) int {
	if c := strings.Compare(a.family, b.family); c != 0 {
		return c
	}
	return a.revision - b.revision
}

func (a *api) listTaskDefinitionFamilies(ctx context.Context, in *sdk.ListTaskDefinitionFamiliesInput) (*sdk.ListTaskDefinitionFamiliesOutput, error) {
	page, err := newList("ListTaskDefinitionFamilies", in.MaxResults, in.NextToken, 100, 100)
	if err == nil {
		err = oneOf("status", in.Status, in.Status.Values())
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

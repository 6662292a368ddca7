package ecs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
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

func (a *api) listServiceDeployments(ctx context.Context, in *sdk.ListServiceDeploymentsInput) (
	*sdk.ListServiceDeploymentsOutput, error,
) {
	page, err := newPage("ListServiceDeployments", in.MaxResults, in.NextToken, 20, 100)
	if err != nil {
		return nil, err
	}
	r := a.db.Snapshot()
	cluster, err := activeCluster(r, awsapi.ScopeFrom(ctx), in.Cluster)
	if err != nil {
		return nil, err
	}
	id, err := identifier.ParseIn(cluster, identifier.Service, aws.ToString(in.Service))
	if err != nil {
		return nil, err
	}
	for _, s := range in.Status {
		if err := ecserr.RequireOneOf("status", s, s.Values()); err != nil {
			return nil, err
		}
	}
	if _, ok := task.FindService(r, id.ServiceRef()); !ok {
		return nil, fault.New(fault.NotFound, "service", "Service not found.")
	}
	out := &sdk.ListServiceDeploymentsOutput{ServiceDeployments: []types.ServiceDeploymentBrief{}}
	for _, d := range task.ServiceDeployments(r, id.ServiceRef()) {
		// The newest deployment comes first, so the next page has the smaller keys.
		key := fmt.Sprintf("%020d-%s", d.Created.UnixNano(), d.ID)
		if page.after != "" && key >= page.after || !matchesDeployment(in, d) {
			continue
		}
		if !page.Add(key, d.ARN()) {
			break
		}
		out.ServiceDeployments = append(out.ServiceDeployments, render.ServiceDeploymentBrief(d))
	}
	out.NextToken = page.next()
	return out, nil
}

// matchesDeployment applies the filters of ListServiceDeployments.
func matchesDeployment(in *sdk.ListServiceDeploymentsInput, d *task.ServiceDeployment) bool {
	if len(in.Status) > 0 && !slices.Contains(in.Status, types.ServiceDeploymentStatus(d.Status)) {
		return false
	}
	created := in.CreatedAt
	return created == nil ||
		(created.After == nil || !d.Created.Before(*created.After)) &&
			(created.Before == nil || !d.Created.After(*created.Before))
}

func (a *api) describeServiceDeployments(ctx context.Context, in *sdk.DescribeServiceDeploymentsInput) (
	*sdk.DescribeServiceDeploymentsOutput, error,
) {
	out := &sdk.DescribeServiceDeploymentsOutput{
		ServiceDeployments: []types.ServiceDeployment{}, Failures: []types.Failure{},
	}
	scope, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	err := forEachPart(scope, identifier.ServiceDeployment, in.ServiceDeploymentArns,
		func(arn string, part identifier.Part) error {
			d, ok := task.FindServiceDeployment(r, part.Service, part.Name)
			if !ok {
				out.Failures = append(out.Failures, types.Failure{Arn: &arn, Reason: aws.String("MISSING")})
				return nil
			}
			view, err := render.ServiceDeployment(r, d)
			if err == nil {
				out.ServiceDeployments = append(out.ServiceDeployments, *view)
			}
			return err
		})
	return out, err
}

func (a *api) describeServiceRevisions(ctx context.Context, in *sdk.DescribeServiceRevisionsInput) (
	*sdk.DescribeServiceRevisionsOutput, error,
) {
	out := &sdk.DescribeServiceRevisionsOutput{
		ServiceRevisions: []types.ServiceRevision{}, Failures: []types.Failure{},
	}
	scope, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	err := forEachPart(scope, identifier.ServiceRevision, in.ServiceRevisionArns,
		func(arn string, part identifier.Part) error {
			revision, ok := task.FindServiceRevision(r, part.Service, part.Name)
			if !ok {
				out.Failures = append(out.Failures, types.Failure{Arn: &arn, Reason: aws.String("MISSING")})
				return nil
			}
			view, err := render.ServiceRevision(r, revision)
			if err == nil {
				out.ServiceRevisions = append(out.ServiceRevisions, *view)
			}
			return err
		})
	return out, err
}

func (a *api) stopServiceDeployment(ctx context.Context, in *sdk.StopServiceDeploymentInput) (
	*sdk.StopServiceDeploymentOutput, error,
) {
	scope := awsapi.ScopeFrom(ctx)
	mode := cmp.Or(in.StopType, types.StopServiceDeploymentStopTypeRollback)
	part, err := identifier.ParsePart(scope, identifier.ServiceDeployment, aws.ToString(in.ServiceDeploymentArn))
	if err := ecserr.First(err, ecserr.OneOf("stop type", mode, mode.Values())); err != nil {
		return nil, err
	}
	now := a.now()
	return awsapi.Update(ctx, a.db, func(tx *store.Tx) (*sdk.StopServiceDeploymentOutput, error) {
		err := task.StopServiceDeployment(tx, part.Service, part.Name, task.StopMode(mode), now)
		return &sdk.StopServiceDeploymentOutput{ServiceDeploymentArn: in.ServiceDeploymentArn}, err
	})
}

// forEachPart calls fn with each of 1 to 20 ARNs of parts of services.
func forEachPart(
	scope arn.Scope, kind string, arns []string, fn func(arn string, part identifier.Part) error,
) error {
	noun := strings.ReplaceAll(kind, "-", " ")
	switch {
	case len(arns) == 0:
		return ecserr.Invalid("%s ARNs cannot be empty.", noun)
	case len(arns) > 20:
		return ecserr.Invalid("At most 20 %ss can be described at once", noun)
	}
	for _, arn := range arns {
		part, err := identifier.ParsePart(scope, kind, arn)
		if err == nil {
			err = fn(arn, part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

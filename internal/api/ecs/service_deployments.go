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

func (a *api) listServiceDeployments(ctx context.Context, in *sdk.ListServiceDeploymentsInput) (*sdk.ListServiceDeploymentsOutput, error) {
	page, err := newList("ListServiceDeployments", in.MaxResults, in.NextToken, 20, 100)
	if err != nil {
		return nil, err
	}
	sc, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	cluster, err := activeCluster(r, sc, in.Cluster)
	if err != nil {
		return nil, err
	}
	id, err := identifier.ParseIn(sc, cluster, "service", aws.ToString(in.Service))
	if err != nil {
		return nil, err
	}
	for _, s := range in.Status {
		if err := ecserr.OneOf("status", cmp.Or(s, "null"), s.Values()); err != nil {
			return nil, err
		}
	}
	if _, ok := task.FindService(r, task.ServiceRef{Scope: sc, Cluster: cluster, Name: id.Name}); !ok {
		return nil, fault.New(fault.NotFound, "service", "Service not found.")
	}
	out := &sdk.ListServiceDeploymentsOutput{ServiceDeployments: []types.ServiceDeploymentBrief{}}
	for _, d := range task.ServiceDeployments(r, task.ServiceRef{Scope: sc, Cluster: cluster, Name: id.Name}) {
		key := fmt.Sprintf("%020d-%s", d.Created.UnixNano(), d.ID) // newest first, so the next page has the smaller ones
		if page.after != "" && key >= page.after || !wantedBrief(in, d) {
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

// wantedBrief applies the filters of ListServiceDeployments.
func wantedBrief(in *sdk.ListServiceDeploymentsInput, d *task.ServiceDeployment) bool {
	if len(in.Status) > 0 && !slices.Contains(in.Status, types.ServiceDeploymentStatus(d.Status)) {
		return false
	}
	c := in.CreatedAt
	return c == nil || (c.After == nil || !d.Created.Before(*c.After)) && (c.Before == nil || !d.Created.After(*c.Before))
}

func (a *api) describeServiceDeployments(ctx context.Context, in *sdk.DescribeServiceDeploymentsInput) (*sdk.DescribeServiceDeploymentsOutput, error) {
	out := &sdk.DescribeServiceDeploymentsOutput{ServiceDeployments: []types.ServiceDeployment{}, Failures: []types.Failure{}}
	sc, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	err := eachPart(sc, "service-deployment", in.ServiceDeploymentArns, func(arn string, p identifier.Part) error {
		d, ok := task.FindServiceDeployment(r, task.ServiceRef{Scope: sc, Cluster: p.Cluster, Name: p.Service}, p.Name)
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

func (a *api) describeServiceRevisions(ctx context.Context, in *sdk.DescribeServiceRevisionsInput) (*sdk.DescribeServiceRevisionsOutput, error) {
	out := &sdk.DescribeServiceRevisionsOutput{ServiceRevisions: []types.ServiceRevision{}, Failures: []types.Failure{}}
	sc, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	err := eachPart(sc, "service-revision", in.ServiceRevisionArns, func(arn string, p identifier.Part) error {
		rev, ok := task.FindServiceRevision(r, task.ServiceRef{Scope: sc, Cluster: p.Cluster, Name: p.Service}, p.Name)
		if !ok {
			out.Failures = append(out.Failures, types.Failure{Arn: &arn, Reason: aws.String("MISSING")})
			return nil
		}
		view, err := render.ServiceRevision(r, rev)
		if err == nil {
			out.ServiceRevisions = append(out.ServiceRevisions, *view)
		}
		return err
	})
	return out, err
}

func (a *api) stopServiceDeployment(ctx context.Context, in *sdk.StopServiceDeploymentInput) (*sdk.StopServiceDeploymentOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	how := cmp.Or(in.StopType, types.StopServiceDeploymentStopTypeRollback)
	p, err := identifier.ParsePart(sc, "service-deployment", aws.ToString(in.ServiceDeploymentArn))
	if err := ecserr.First(err, ecserr.OneOf("stop type", how, how.Values())); err != nil {
		return nil, err
	}
	now := a.now()
	return awsapi.Update(ctx, a.db, func(tx *store.Tx) (*sdk.StopServiceDeploymentOutput, error) {
		err := task.StopServiceDeployment(tx, task.ServiceRef{Scope: sc, Cluster: p.Cluster, Name: p.Service}, p.Name, task.StopMode(how), now)
		return &sdk.StopServiceDeploymentOutput{ServiceDeploymentArn: in.ServiceDeploymentArn}, err
	})
}

// eachPart calls fn with each of 1 to 20 ARNs.
func eachPart(sc arn.Scope, kind string, arns []string, fn func(arn string, p identifier.Part) error) error {
	switch {
	case len(arns) == 0:
		return ecserr.Invalid("%s ARNs cannot be empty.", strings.ReplaceAll(kind, "-", " "))
	case len(arns) > 20:
		return ecserr.Invalid("At most 20 %ss can be described at once", strings.ReplaceAll(kind, "-", " "))
	}
	for _, arn := range arns {
		p, err := identifier.ParsePart(sc, kind, arn)
		if err == nil {
			err = fn(arn, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

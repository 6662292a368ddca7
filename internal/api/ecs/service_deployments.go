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
	id, err := identifyIn(sc, cluster, "service", aws.ToString(in.Service))
	if err != nil {
		return nil, err
	}
	for _, s := range in.Status {
		if err := oneOf("status", cmp.Or(s, "null"), s.Values()); err != nil {
			return nil, err
		}
	}
	if _, ok := task.FindService(r, sc, cluster, id.name); !ok {
		return nil, fault.New(fault.NotFound, "service", "Service not found.")
	}
	out := &sdk.ListServiceDeploymentsOutput{ServiceDeployments: []types.ServiceDeploymentBrief{}}
	for _, d := range task.ServiceDeployments(r, sc, cluster, id.name) {
		key := fmt.Sprintf("%020d-%s", d.Created.UnixNano(), d.ID) // newest first, so the next page has the smaller ones
		if page.after != "" && key >= page.after || !wantedBrief(in, d) {
			continue
		}
		if !page.Add(key, d.ARN()) {
			break
		}
		out.ServiceDeployments = append(out.ServiceDeployments, briefView(d))
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
	err := eachPart(sc, "service-deployment", in.ServiceDeploymentArns, func(arn string, p part) error {
		d, ok := task.FindServiceDeployment(r, sc, p.cluster, p.service, p.name)
		if !ok {
			out.Failures = append(out.Failures, types.Failure{Arn: &arn, Reason: aws.String("MISSING")})
			return nil
		}
		view, err := serviceDeploymentView(r, d)
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
	err := eachPart(sc, "service-revision", in.ServiceRevisionArns, func(arn string, p part) error {
		rev, ok := task.FindServiceRevision(r, sc, p.cluster, p.service, p.name)
		if !ok {
			out.Failures = append(out.Failures, types.Failure{Arn: &arn, Reason: aws.String("MISSING")})
			return nil
		}
		view, err := serviceRevisionView(r, rev)
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
	p, err := partOf(sc, "service-deployment", aws.ToString(in.ServiceDeploymentArn))
	if err := first(err, oneOf("stop type", how, how.Values())); err != nil {
		return nil, err
	}
	return awsapi.Update(ctx, a.db, func(tx *store.Tx) (*sdk.StopServiceDeploymentOutput, error) {
		err := task.StopServiceDeployment(tx, sc, p.cluster, p.service, p.name, string(how), a.now())
		return &sdk.StopServiceDeploymentOutput{ServiceDeploymentArn: in.ServiceDeploymentArn}, err
	})
}

// part is what the ARN of a part of a service says: cluster/service/name. Of another account or region it is
// empty: nothing is found.
type part struct{ cluster, service, name string }

func partOf(sc arn.Scope, kind, s string) (part, error) {
	id, err := identify(sc, kind, s)
	if err != nil {
		return part{}, err
	}
	if id.arn == "" {
		return part{}, invalid("Invalid identifier: %q is no ARN", s)
	}
	if id.name == "" {
		return part{}, nil
	}
	words := strings.Split(id.name, "/")
	if len(words) != 3 {
		return part{}, invalid("Invalid identifier: %s names no cluster and service", s)
	}
	return part{words[0], words[1], words[2]}, nil
}

// eachPart calls fn with each of 1 to 20 ARNs.
func eachPart(sc arn.Scope, kind string, arns []string, fn func(arn string, p part) error) error {
	switch {
	case len(arns) == 0:
		return invalid("%s ARNs cannot be empty.", strings.ReplaceAll(kind, "-", " "))
	case len(arns) > 20:
		return invalid("At most 20 %ss can be described at once", strings.ReplaceAll(kind, "-", " "))
	}
	for _, arn := range arns {
		p, err := partOf(sc, kind, arn)
		if err == nil {
			err = fn(arn, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

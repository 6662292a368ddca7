package cloudwatchlogs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/paging"
	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/loggroup"
	"github.com/bakingclouds/rollcall/internal/store"
)

func (a *api) createLogGroup(ctx context.Context, in *sdk.CreateLogGroupInput) (*sdk.CreateLogGroupOutput, error) {
	name, err := groupName(in.LogGroupName)
	if err != nil {
		return nil, err
	}
	if in.LogGroupClass != "" && !slices.Contains(in.LogGroupClass.Values(), in.LogGroupClass) {
		return nil, invalid("The log group class %.64q is unknown.", in.LogGroupClass)
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	sc, now := awsapi.ScopeFrom(ctx), a.now()
	g := loggroup.Group{Name: name, Class: string(in.LogGroupClass), KMSKey: aws.ToString(in.KmsKeyId), Tags: in.Tags}
	return nil, a.update(ctx, func(tx *store.Tx) error { return loggroup.Create(tx, sc, g, now) })
}

func (a *api) deleteLogGroup(ctx context.Context, in *sdk.DeleteLogGroupInput) (*sdk.DeleteLogGroupOutput, error) {
	name, err := groupName(in.LogGroupName)
	if err != nil {
		return nil, err
	}
	sc := awsapi.ScopeFrom(ctx)
	return nil, a.update(ctx, func(tx *store.Tx) error { return loggroup.Delete(tx, sc, name) })
}

func (a *api) describeLogGroups(
	ctx context.Context, in *sdk.DescribeLogGroupsInput,
) (*sdk.DescribeLogGroupsOutput, error) {
	const operation = "DescribeLogGroups"
	max, err := pageSize(in.Limit, 50)
	if err != nil {
		return nil, err
	}
	after, ok := paging.After(operation, aws.ToString(in.NextToken))
	prefix, pattern := aws.ToString(in.LogGroupNamePrefix), aws.ToString(in.LogGroupNamePattern)
	switch {
	case !ok:
		return nil, badToken()
	case prefix != "" && pattern != "":
		return nil, invalid("logGroupNamePrefix and logGroupNamePattern cannot be specified together.")
	}
	sc := awsapi.ScopeFrom(ctx)
	named := map[string]bool{}
	for _, id := range in.LogGroupIdentifiers {
		if strings.HasPrefix(id, "arn:") {
			if id, err = nameInARN(sc, id); err != nil {
				return nil, err
			}
		}
		named[id] = true
	}
	page := paging.New[types.LogGroup](max)
	loggroup.Scan(a.db.Snapshot(), sc, prefix, after, func(g *loggroup.Group) bool {
		switch {
		case len(named) > 0 && !named[g.Name]:
		case pattern != "" && !strings.Contains(strings.ToLower(g.Name), strings.ToLower(pattern)):
		case in.LogGroupClass != "" && in.LogGroupClass != classOf(g):
		default:
			return page.Add(g.Name, a.groupView(g))
		}
		return true
	})
	return &sdk.DescribeLogGroupsOutput{LogGroups: page.Items, NextToken: page.Next(operation)}, nil
}

func classOf(g *loggroup.Group) types.LogGroupClass {
	if g.Class == "" {
		return types.LogGroupClassStandard
	}
	return types.LogGroupClass(g.Class)
}

func (a *api) groupView(g *loggroup.Group) types.LogGroup {
	view := types.LogGroup{
		LogGroupName: &g.Name, LogGroupArn: aws.String(g.ARN()), Arn: aws.String(g.ARN() + ":*"),
		LogGroupClass: classOf(g),
		CreationTime:  aws.Int64(g.Created.UnixMilli()), MetricFilterCount: aws.Int32(0), StoredBytes: aws.Int64(0),
	}
	if g.Retention > 0 {
		view.RetentionInDays = aws.Int32(int32(g.Retention))
	}
	if g.KMSKey != "" {
		view.KmsKeyId = &g.KMSKey
	}
	for _, e := range a.logs.Group(g.Region, g.Name) {
		if _, _, size, ok, err := containerlog.Span(e.Dir); ok && err == nil {
			*view.StoredBytes += size
		}
	}
	return view
}

func (a *api) putRetentionPolicy(
	ctx context.Context, in *sdk.PutRetentionPolicyInput,
) (*sdk.PutRetentionPolicyOutput, error) {
	name, err := groupName(in.LogGroupName)
	if err != nil {
		return nil, err
	}
	days := int(aws.ToInt32(in.RetentionInDays))
	if !slices.Contains(loggroup.Retentions, days) {
		return nil, broken(fmt.Sprintf("Value '%d'", days), "retentionInDays",
			fmt.Sprintf("Member must satisfy enum value set: %v", loggroup.Retentions))
	}
	sc := awsapi.ScopeFrom(ctx)
	return nil, a.update(ctx, func(tx *store.Tx) error { return loggroup.Retain(tx, sc, name, days) })
}

func (a *api) deleteRetentionPolicy(
	ctx context.Context, in *sdk.DeleteRetentionPolicyInput,
) (*sdk.DeleteRetentionPolicyOutput, error) {
	name, err := groupName(in.LogGroupName)
	if err != nil {
		return nil, err
	}
	sc := awsapi.ScopeFrom(ctx)
	return nil, a.update(ctx, func(tx *store.Tx) error { return loggroup.Retain(tx, sc, name, 0) })
}

// checkTags checks tags against AWS's limits.
func checkTags(tags map[string]string) error {
	for key, value := range tags {
		if key == "" || utf8.RuneCountInString(key) > 128 || utf8.RuneCountInString(value) > 256 {
			return invalid("A tag's key must have 1 to 128 characters, and its value at most 256.")
		}
	}
	return nil
}

func (a *api) tag(ctx context.Context, name string, add map[string]string, remove []string) error {
	if err := checkTags(add); err != nil {
		return err
	}
	sc := awsapi.ScopeFrom(ctx)
	return a.update(ctx, func(tx *store.Tx) error { return loggroup.Tag(tx, sc, name, add, remove) })
}

func (a *api) tags(ctx context.Context, name string) (map[string]string, error) {
	g, err := loggroup.Get(a.db.Snapshot(), awsapi.ScopeFrom(ctx), name)
	if err != nil {
		return nil, err
	}
	if g.Tags == nil {
		return map[string]string{}, nil
	}
	return g.Tags, nil
}

func (a *api) listTagsForResource(
	ctx context.Context, in *sdk.ListTagsForResourceInput,
) (*sdk.ListTagsForResourceOutput, error) {
	name, err := nameInARN(awsapi.ScopeFrom(ctx), aws.ToString(in.ResourceArn))
	if err != nil {
		return nil, err
	}
	tags, err := a.tags(ctx, name)
	return &sdk.ListTagsForResourceOutput{Tags: tags}, err
}

func (a *api) tagResource(ctx context.Context, in *sdk.TagResourceInput) (*sdk.TagResourceOutput, error) {
	name, err := nameInARN(awsapi.ScopeFrom(ctx), aws.ToString(in.ResourceArn))
	if err != nil {
		return nil, err
	}
	return nil, a.tag(ctx, name, in.Tags, nil)
}

func (a *api) untagResource(ctx context.Context, in *sdk.UntagResourceInput) (*sdk.UntagResourceOutput, error) {
	name, err := nameInARN(awsapi.ScopeFrom(ctx), aws.ToString(in.ResourceArn))
	if err != nil {
		return nil, err
	}
	return nil, a.tag(ctx, name, nil, in.TagKeys)
}

// The three operations below are deprecated, but older Terraform providers and scripts call them.

func (a *api) listTagsLogGroup(
	ctx context.Context, in *sdk.ListTagsLogGroupInput,
) (*sdk.ListTagsLogGroupOutput, error) {
	name, err := groupName(in.LogGroupName)
	if err != nil {
		return nil, err
	}
	tags, err := a.tags(ctx, name)
	return &sdk.ListTagsLogGroupOutput{Tags: tags}, err
}

func (a *api) tagLogGroup(ctx context.Context, in *sdk.TagLogGroupInput) (*sdk.TagLogGroupOutput, error) {
	name, err := groupName(in.LogGroupName)
	if err != nil {
		return nil, err
	}
	return nil, a.tag(ctx, name, in.Tags, nil)
}

func (a *api) untagLogGroup(ctx context.Context, in *sdk.UntagLogGroupInput) (*sdk.UntagLogGroupOutput, error) {
	name, err := groupName(in.LogGroupName)
	if err != nil {
		return nil, err
	}
	return nil, a.tag(ctx, name, nil, in.Tags)
}

// pageSize returns the size of a page: limit, or most if limit is nil.
func pageSize(limit *int32, most int) (int, error) {
	if limit == nil {
		return most, nil
	}
	if *limit < 1 || int(*limit) > most {
		return 0, broken(fmt.Sprintf("Value '%d'", *limit), "limit",
			fmt.Sprintf("Member must have value between 1 and %d", most))
	}
	return int(*limit), nil
}

func badToken() error { return invalid("The specified nextToken is invalid.") }

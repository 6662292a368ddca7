package ecs_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
)

// tagged returns tags that are written as key=value.
func tagged(pairs ...string) []types.Tag {
	var tags []types.Tag
	for _, pair := range pairs {
		k, v, _ := strings.Cut(pair, "=")
		tags = append(tags, types.Tag{Key: &k, Value: &v})
	}
	return tags
}

// TestTags checks that tags are merged by their keys, and are returned wherever the resource is described.
func TestTags(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.createCluster("prod")
	api.createService("prod", "web")
	api.createProvider("own")
	apitest.Must(api.UntagResource(ctx, &sdk.UntagResourceInput{ResourceArn: aws.String(arns + "capacity-provider/own"),
		TagKeys: []string{"a"}}))(t)
	for _, arn := range []string{
		arns + "cluster/prod", arns + "service/prod/web", arns + "task-definition/web:1", arns + "cluster/default",
		arns + "capacity-provider/own",
	} {
		t.Run(strings.TrimPrefix(arn, arns), func(t *testing.T) {
			tags := func() string {
				out := apitest.Must(api.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: &arn}))(t)
				var pairs []string
				for _, tag := range out.Tags {
					pairs = append(pairs, *tag.Key+"="+*tag.Value)
				}
				return strings.Join(pairs, " ")
			}
			apitest.Must(api.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: &arn, Tags: tagged("a=1", "b=2")}))(t)
			apitest.Must(api.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: &arn, Tags: tagged("b=3", "c=")}))(t)
			if got := tags(); got != "a=1 b=3 c=" {
				t.Errorf("tags after TagResource: %s", got)
			}
			apitest.Must(api.UntagResource(ctx, &sdk.UntagResourceInput{ResourceArn: &arn, TagKeys: []string{"b", "none"}}))(t)
			if got := tags(); got != "a=1 c=" {
				t.Errorf("tags after UntagResource: %s", got)
			}
		})
	}
	if d := diff(tagged("a=1", "c="), apitest.Must(api.DescribeServices(ctx,
		&sdk.DescribeServicesInput{Cluster: aws.String("prod"), Services: []string{"web"},
			Include: []types.ServiceField{"TAGS"}}))(t).Services[0].Tags); d != "" {
		t.Errorf("DescribeServices (-want +got):\n%s", d)
	}
	if d := diff(tagged("a=1", "c="), apitest.Must(api.DescribeTaskDefinition(ctx,
		&sdk.DescribeTaskDefinitionInput{TaskDefinition: aws.String("web"), Include: []types.TaskDefinitionField{"TAGS"}}))(
		t).Tags); d != "" {
		t.Errorf("DescribeTaskDefinition (-want +got):\n%s", d)
	}

	var many []string
	for i := range 49 {
		many = append(many, fmt.Sprintf("k%d=", i))
	}
	for _, tc := range []struct {
		arn, want string
		tags      []types.Tag
	}{
		{"web", "InvalidParameter: The ARN provided is invalid.", nil},
		{arns + "task-definition/web", "InvalidParameter: The ARN provided is invalid.", nil},
		{arns + "service/web", "InvalidParameter: Long arn format must be used for tagging operations", nil},
		{arns + "service/prod/none", "ResourceNotFound: The specified service was not found...", nil},
		{"arn:aws:ecs:eu-west-1:999999999999:cluster/prod",
			"ResourceNotFound: The specified cluster was not found...", nil},
		{arns + "task/prod/1", "ResourceNotFound: The specified task was not found...", nil},
		{arns + "capacity-provider/x", "ResourceNotFound: The specified capacity-provider was not found...", nil},
		{arns + "capacity-provider/FARGATE",
			"InvalidParameter: The capacity provider FARGATE is predefined and cannot be tagged.", nil},
		{arns + "task-set/prod/web/ecs-svc/1", "UnsupportedFeature: Tags of a task-set are not supported...", nil},
		{arns + "cluster/prod", "InvalidParameter: The tag a? has characters other than...", tagged("a?=")},
		{arns + "cluster/prod", "InvalidParameter: The key of a tag must have 1 to 128 characters...", tagged("=")},
		{arns + "cluster/prod",
			"LimitExceeded: A resource can have 50 tags; with these it would have 51.", tagged(many...)},
	} {
		wantError(api.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: &tc.arn, Tags: append([]types.Tag{}, tc.tags...)}))(
			t, tc.want)
	}
	wantError(api.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{
		ResourceArn: aws.String(arns + "service/prod/none")}))(t,
		"InvalidParameter: The specified service is inactive. Specify an active service and try again.")
}

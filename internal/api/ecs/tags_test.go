package ecs_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// tagged is a list of tags, as k=v.
func tagged(pairs ...string) []types.Tag {
	var tags []types.Tag
	for _, pair := range pairs {
		k, v, _ := strings.Cut(pair, "=")
		tags = append(tags, types.Tag{Key: &k, Value: &v})
	}
	return tags
}

// TestTags: tags merge by key, and show wherever the resource is read.
func TestTags(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.cluster("prod")
	w.service("prod", "web")
	for _, arn := range []string{arns + "cluster/prod", arns + "service/prod/web", arns + "task-definition/web:1", arns + "cluster/default"} {
		t.Run(strings.TrimPrefix(arn, arns), func(t *testing.T) {
			tags := func() string {
				out, err := w.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: &arn})
				var pairs []string
				for _, tag := range must(t, out, err).Tags {
					pairs = append(pairs, *tag.Key+"="+*tag.Value)
				}
				return strings.Join(pairs, " ")
			}
			added, err := w.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: &arn, Tags: tagged("a=1", "b=2")})
			must(t, added, err)
			added, err = w.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: &arn, Tags: tagged("b=3", "c=")})
			must(t, added, err)
			if got := tags(); got != "a=1 b=3 c=" {
				t.Errorf("after TagResource: %s", got)
			}
			removed, err := w.UntagResource(ctx, &sdk.UntagResourceInput{ResourceArn: &arn, TagKeys: []string{"b", "none"}})
			must(t, removed, err)
			if got := tags(); got != "a=1 c=" {
				t.Errorf("after UntagResource: %s", got)
			}
		})
	}
	services, err := w.DescribeServices(ctx, &sdk.DescribeServicesInput{Cluster: aws.String("prod"), Services: []string{"web"}, Include: []types.ServiceField{"TAGS"}})
	if d := diff(tagged("a=1", "c="), must(t, services, err).Services[0].Tags); d != "" {
		t.Errorf("DescribeServices (-want +got):\n%s", d)
	}
	read, err := w.DescribeTaskDefinition(ctx, &sdk.DescribeTaskDefinitionInput{TaskDefinition: aws.String("web"), Include: []types.TaskDefinitionField{"TAGS"}})
	if d := diff(tagged("a=1", "c="), must(t, read, err).Tags); d != "" {
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
		{"arn:aws:ecs:eu-west-1:999999999999:cluster/prod", "ResourceNotFound: The specified cluster was not found...", nil},
		{arns + "task/prod/1", "ResourceNotFound: The specified task was not found...", nil},
		{arns + "capacity-provider/x", "UnsupportedFeature: Tags of a capacity-provider are not supported...", nil},
		{arns + "cluster/prod", "InvalidParameter: The tag a? has characters other than...", tagged("a?=")},
		{arns + "cluster/prod", "InvalidParameter: The key of a tag must have 1 to 128 characters...", tagged("=")},
		{arns + "cluster/prod", "LimitExceeded: A resource can have 50 tags; with these it would have 51.", tagged(many...)},
	} {
		out, err := w.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: &tc.arn, Tags: append([]types.Tag{}, tc.tags...)})
		refused(t, tc.want, out, err)
	}
	list, err := w.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: aws.String(arns + "service/prod/none")})
	refused(t, "InvalidParameter: The specified service is inactive. Specify an active service and try again.", list, err)
}

func TestAccountSettings(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	settings := func(in sdk.ListAccountSettingsInput) string {
		var got []string
		pages := sdk.NewListAccountSettingsPaginator(w, &in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return text(err)
			}
			for _, s := range page.Settings {
				got = append(got, fmt.Sprintf("%s=%s", s.Name, *s.Value))
			}
		}
		return strings.Join(got, " ")
	}
	all := settings(sdk.ListAccountSettingsInput{EffectiveSettings: true})
	if n := len(strings.Fields(all)); n != 12 || settings(sdk.ListAccountSettingsInput{EffectiveSettings: true, MaxResults: 1}) != all {
		t.Errorf("%d settings: %s", n, all)
	}
	for _, tc := range []struct {
		in   sdk.ListAccountSettingsInput
		want string
	}{
		{sdk.ListAccountSettingsInput{}, ""}, // none is stored
		{sdk.ListAccountSettingsInput{EffectiveSettings: true, Name: "taskLongArnFormat"}, "taskLongArnFormat=enabled"},
		{sdk.ListAccountSettingsInput{EffectiveSettings: true, Name: "taskLongArnFormat", Value: aws.String("disabled")}, ""},
		{sdk.ListAccountSettingsInput{Value: aws.String("disabled")}, "InvalidParameter: value can only be given together with name"},
	} {
		if got := settings(tc.in); got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.in, got, tc.want)
		}
	}
	out, err := w.ListAccountSettings(ctx, &sdk.ListAccountSettingsInput{Name: "x"})
	refused(t, "InvalidParameter: unknown should be one of [...", out, err)
}

// TestRefused: an operation that exists to say no has its own error; one that does not exist is unknown.
func TestRefused(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	poll, err := w.DiscoverPollEndpoint(ctx, &sdk.DiscoverPollEndpointInput{})
	refused(t, "AccessDenied: Agent operations are internal to this server.", poll, err)
	agent, err := w.UpdateContainerAgent(ctx, &sdk.UpdateContainerAgentInput{ContainerInstance: aws.String("i")})
	refused(t, "NoUpdateAvailable: There is no update available for your container agent.", agent, err)
	daemons, err := w.ListDaemons(ctx, &sdk.ListDaemonsInput{})
	refused(t, "UnsupportedFeature: Managed daemons are not supported by this server.", daemons, err)
	sets, err := w.DescribeTaskSets(ctx, &sdk.DescribeTaskSetsInput{Cluster: aws.String("c"), Service: aws.String("s")})
	refused(t, "UnknownOperation: ...", sets, err)
}

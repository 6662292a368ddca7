package ecs_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/task"
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
	w.provider("own")
	untagged, err := w.UntagResource(ctx, &sdk.UntagResourceInput{ResourceArn: aws.String(arns + "capacity-provider/own"), TagKeys: []string{"a"}})
	must(t, untagged, err)
	for _, arn := range []string{
		arns + "cluster/prod", arns + "service/prod/web", arns + "task-definition/web:1", arns + "cluster/default", arns + "capacity-provider/own",
	} {
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
		{arns + "capacity-provider/x", "ResourceNotFound: The specified capacity-provider was not found...", nil},
		{arns + "capacity-provider/FARGATE", "InvalidParameter: The capacity provider FARGATE is predefined and cannot be tagged.", nil},
		{arns + "task-set/prod/web/ecs-svc/1", "UnsupportedFeature: Tags of a task-set are not supported...", nil},
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
		{sdk.ListAccountSettingsInput{PrincipalArn: aws.String("me")}, `InvalidParameter: Invalid principalArn "me": it must be the ARN of a user, a role or the root of this account`},
	} {
		if got := settings(tc.in); got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.in, got, tc.want)
		}
	}

	user := aws.String("arn:aws:iam::" + account + ":user/u")
	def, err := w.PutAccountSettingDefault(ctx, &sdk.PutAccountSettingDefaultInput{Name: "awsvpcTrunking", Value: aws.String("enabled")})
	if s := must(t, def, err).Setting; *s.PrincipalArn != "arn:aws:iam::"+account+":root" || s.Type != "user" {
		t.Errorf("the account's setting is %s's, of type %s", *s.PrincipalArn, s.Type)
	}
	own, err := w.PutAccountSetting(ctx, &sdk.PutAccountSettingInput{Name: "fargateTaskRetirementWaitPeriod", Value: aws.String("14"), PrincipalArn: user})
	must(t, own, err)
	for _, tc := range []struct {
		what string
		in   sdk.ListAccountSettingsInput
		want string
	}{
		{"the account's own", sdk.ListAccountSettingsInput{}, "awsvpcTrunking=enabled"},
		{"the user's own", sdk.ListAccountSettingsInput{PrincipalArn: user}, "fargateTaskRetirementWaitPeriod=14"},
		{"what holds for the user by the account", sdk.ListAccountSettingsInput{PrincipalArn: user, EffectiveSettings: true, Name: "awsvpcTrunking"}, "awsvpcTrunking=enabled"},
		{"what holds for the user", sdk.ListAccountSettingsInput{PrincipalArn: user, EffectiveSettings: true, Name: "fargateTaskRetirementWaitPeriod"}, "fargateTaskRetirementWaitPeriod=14"},
		{"what holds for the account", sdk.ListAccountSettingsInput{EffectiveSettings: true, Name: "fargateTaskRetirementWaitPeriod"}, "fargateTaskRetirementWaitPeriod=7"},
	} {
		if got := settings(tc.in); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.what, got, tc.want)
		}
	}
	for range 2 { // the second time there is none
		gone, err := w.DeleteAccountSetting(ctx, &sdk.DeleteAccountSettingInput{Name: "awsvpcTrunking"})
		if s := must(t, gone, err).Setting; *s.Value != "disabled" {
			t.Errorf("after the deletion: %s", *s.Value)
		}
	}
	if got := settings(sdk.ListAccountSettingsInput{}); got != "" {
		t.Errorf("the account has still set %s", got)
	}
	for _, tc := range []struct {
		name        types.SettingName
		value, want string
	}{
		{"x", "enabled", "InvalidParameter: unknown should be one of [..."},
		{"guardDutyActivate", "on", "InvalidParameter: The account setting guardDutyActivate is managed by AWS and cannot be changed."},
		{"fargateTaskRetirementWaitPeriod", "1", "InvalidParameter: value of fargateTaskRetirementWaitPeriod should be one of [0,7,14]"},
	} {
		out, err := w.PutAccountSetting(ctx, &sdk.PutAccountSettingInput{Name: tc.name, Value: &tc.value})
		refused(t, tc.want, out, err)
	}
	out, err := w.ListAccountSettings(ctx, &sdk.ListAccountSettingsInput{Name: "x"})
	refused(t, "InvalidParameter: unknown should be one of [...", out, err)
}

// TestRefused: an operation that exists to say no has its own error.
func TestRefused(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	poll, err := w.DiscoverPollEndpoint(ctx, &sdk.DiscoverPollEndpointInput{})
	refused(t, "AccessDenied: Agent operations are internal to this server.", poll, err)
	agent, err := w.UpdateContainerAgent(ctx, &sdk.UpdateContainerAgentInput{ContainerInstance: aws.String("i")})
	refused(t, "NoUpdateAvailable: There is no update available for your container agent.", agent, err)
	daemons, err := w.ListDaemons(ctx, &sdk.ListDaemonsInput{})
	refused(t, "UnsupportedFeature: Managed daemons are not supported by this server.", daemons, err)
	w.service("default", "web")
	sets, err := w.DescribeTaskSets(ctx, &sdk.DescribeTaskSetsInput{Cluster: aws.String("default"), Service: aws.String("web")})
	refused(t, "InvalidParameter: Task sets are for services with the deployment controller EXTERNAL; the service web has ECS.", sets, err)
	sets, err = w.DescribeTaskSets(ctx, &sdk.DescribeTaskSetsInput{Cluster: aws.String("default"), Service: aws.String("none")})
	refused(t, "ServiceNotFound: Service not found.", sets, err)
	gateways, err := w.ListGateways(ctx, &sdk.ListGatewaysInput{})
	refused(t, "UnsupportedFeature: Gateways are not supported by this server.", gateways, err)
	next, err := w.ContinueServiceDeployment(ctx, &sdk.ContinueServiceDeploymentInput{ServiceDeploymentArn: aws.String("d"), HookId: aws.String("h")})
	refused(t, "UnsupportedFeature: Deployment lifecycle hooks are not supported...", next, err)
}

// TestExecuteCommand: each thing that AWS asks of the task first has its own error, and no session is given.
func TestExecuteCommand(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.definition("web", types.NetworkModeBridge)
	w.task(task.Task{ID: task.ID(id(1)), Family: "web", Node: "n1", Observed: task.Observed{State: task.Running}})
	w.task(task.Task{ID: task.ID(id(2)), Family: "web", Node: "n1", ExecuteCommand: true, Observed: task.Observed{State: task.Running}})
	w.task(task.Task{ID: task.ID(id(3)), Family: "web", ExecuteCommand: true, Observed: task.Observed{State: task.Pending}})
	for _, tc := range []struct {
		task, container string
		silent          bool
		want            string
	}{
		{id(9), "", false, "InvalidParameter: The referenced task was not found."},
		{id(2), "", true, "InvalidParameter: Interactive is the only mode supported currently."},
		{id(3), "", false, "InvalidParameter: The execute command failed because the task is not RUNNING; it is PENDING."},
		{id(1), "", false, "InvalidParameter: The execute command failed because execute command was not enabled when the task was run or the execute command agent isn’t running. Wait and try again or run a new task with execute command enabled and try again."},
		{id(2), "db", false, "InvalidParameter: The container db does not exist in the task definition."},
		{id(2), "app", false, "TargetNotConnected: The execute command failed because this server has no sessions of AWS Systems Manager..."},
	} {
		in := &sdk.ExecuteCommandInput{Task: &tc.task, Command: aws.String("sh"), Interactive: !tc.silent}
		if tc.container != "" {
			in.Container = &tc.container
		}
		out, err := w.ExecuteCommand(ctx, in)
		refused(t, tc.want, out, err)
	}
}

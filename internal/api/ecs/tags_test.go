package ecs_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/task"
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
		{"arn:aws:ecs:eu-west-1:999999999999:cluster/prod", "ResourceNotFound: The specified cluster was not " +
			"found...", nil},
		{arns + "task/prod/1", "ResourceNotFound: The specified task was not found...", nil},
		{arns + "capacity-provider/x", "ResourceNotFound: The specified capacity-provider was not found...", nil},
		{arns + "capacity-provider/FARGATE",
			"InvalidParameter: The capacity provider FARGATE is predefined and cannot be tagged.", nil},
		{arns + "task-set/prod/web/ecs-svc/1", "UnsupportedFeature: Tags of a task-set are not supported...", nil},
		{arns + "cluster/prod", "InvalidParameter: The tag a? has characters other than...", tagged("a?=")},
		{arns + "cluster/prod", "InvalidParameter: The key of a tag must have 1 to 128 characters...", tagged("=")},
		{arns + "cluster/prod", "LimitExceeded: A resource can have 50 tags; with these it would have " +
			"51.", tagged(many...)},
	} {
		wantError(api.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: &tc.arn, Tags: append([]types.Tag{}, tc.tags...)}))(
			t, tc.want)
	}
	wantError(api.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: aws.String(arns +
		"service/prod/none")}))(
		t, "InvalidParameter: The specified service is inactive. Specify an active service and try again.")
}

func TestAccountSettings(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	settings := func(in sdk.ListAccountSettingsInput) string {
		var got []string
		pages := sdk.NewListAccountSettingsPaginator(api, &in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return errorText(err)
			}
			for _, s := range page.Settings {
				got = append(got, fmt.Sprintf("%s=%s", s.Name, *s.Value))
			}
		}
		return strings.Join(got, " ")
	}
	all := settings(sdk.ListAccountSettingsInput{EffectiveSettings: true})
	if n := len(strings.Fields(all)); n != 12 || settings(sdk.ListAccountSettingsInput{EffectiveSettings: true,
		MaxResults: 1}) != all {
		t.Errorf("%d settings: %s", n, all)
	}
	for _, tc := range []struct {
		in   sdk.ListAccountSettingsInput
		want string
	}{
		{sdk.ListAccountSettingsInput{}, ""}, // the caller has no settings
		{sdk.ListAccountSettingsInput{EffectiveSettings: true, Name: "taskLongArnFormat"}, "taskLongArnFormat=enabled"},
		{sdk.ListAccountSettingsInput{EffectiveSettings: true, Name: "taskLongArnFormat", Value: aws.String("disabled")}, ""},
		{sdk.ListAccountSettingsInput{Value: aws.String("disabled")},
			"InvalidParameter: value can only be given together with name"},
		{sdk.ListAccountSettingsInput{PrincipalArn: aws.String("me")},
			`InvalidParameter: Invalid principalArn "me": it must be the ARN of a user, a role or the root of this ` +
				`account`},
	} {
		if got := settings(tc.in); got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.in, got, tc.want)
		}
	}

	user := aws.String("arn:aws:iam::" + account + ":user/u")
	if s := apitest.Must(api.PutAccountSettingDefault(ctx, &sdk.PutAccountSettingDefaultInput{Name: "awsvpcTrunking",
		Value: aws.String("enabled")}))(t).Setting; *s.PrincipalArn != "arn:aws:iam::"+account+":root" || s.Type != "user" {
		t.Errorf("default setting: principal %s, type %s", *s.PrincipalArn, s.Type)
	}
	apitest.Must(api.PutAccountSetting(ctx, &sdk.PutAccountSettingInput{Name: "fargateTaskRetirementWaitPeriod",
		Value: aws.String("14"), PrincipalArn: user}))(t)
	for _, tc := range []struct {
		what string
		in   sdk.ListAccountSettingsInput
		want string
	}{
		{"settings of the account", sdk.ListAccountSettingsInput{}, "awsvpcTrunking=enabled"},
		{"settings of the " +
			"user", sdk.ListAccountSettingsInput{PrincipalArn: user}, "fargateTaskRetirementWaitPeriod=14"},
		{"effective for the user, set for the account",
			sdk.ListAccountSettingsInput{PrincipalArn: user, EffectiveSettings: true,
				Name: "awsvpcTrunking"}, "awsvpcTrunking=enabled"},
		{"effective for the user", sdk.ListAccountSettingsInput{PrincipalArn: user, EffectiveSettings: true,
			Name: "fargateTaskRetirementWaitPeriod"}, "fargateTaskRetirementWaitPeriod=14"},
		{"effective for the account", sdk.ListAccountSettingsInput{EffectiveSettings: true,
			Name: "fargateTaskRetirementWaitPeriod"}, "fargateTaskRetirementWaitPeriod=7"},
	} {
		if got := settings(tc.in); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.what, got, tc.want)
		}
	}
	for range 2 { // the second call deletes nothing
		if s := apitest.Must(api.DeleteAccountSetting(ctx, &sdk.DeleteAccountSettingInput{Name: "awsvpcTrunking"}))(
			t).Setting; *s.Value != "disabled" {
			t.Errorf("value after the deletion: %s", *s.Value)
		}
	}
	if got := settings(sdk.ListAccountSettingsInput{}); got != "" {
		t.Errorf("settings of the account: %s", got)
	}
	for _, tc := range []struct {
		name        types.SettingName
		value, want string
	}{
		{"x", "enabled", "InvalidParameter: unknown should be one of [..."},
		{"guardDutyActivate", "on",
			"InvalidParameter: The account setting guardDutyActivate is managed by AWS and cannot be changed."},
		{"fargateTaskRetirementWaitPeriod", "1",
			"InvalidParameter: value of fargateTaskRetirementWaitPeriod should be one of [0,7,14]"},
	} {
		wantError(api.PutAccountSetting(ctx, &sdk.PutAccountSettingInput{Name: tc.name, Value: &tc.value}))(t, tc.want)
	}
	wantError(api.ListAccountSettings(ctx, &sdk.ListAccountSettingsInput{Name: "x"}))(t,
		"InvalidParameter: unknown should be one of [...")
}

// TestUnsupported checks the errors of operations that always fail.
func TestUnsupported(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	wantError(api.DiscoverPollEndpoint(ctx, &sdk.DiscoverPollEndpointInput{}))(t,
		"AccessDenied: Agent operations are internal to this server.")
	wantError(api.UpdateContainerAgent(ctx, &sdk.UpdateContainerAgentInput{ContainerInstance: aws.String("i")}))(t,
		"NoUpdateAvailable: There is no update available for your container agent.")
	wantError(api.ListDaemons(ctx, &sdk.ListDaemonsInput{}))(t,
		"UnsupportedFeature: Managed daemons are not supported by this server.")
	api.createService("default", "web")
	wantError(api.DescribeTaskSets(ctx, &sdk.DescribeTaskSetsInput{Cluster: aws.String("default"),
		Service: aws.String("web")}))(
		t, "InvalidParameter: Task sets are for services with the deployment controller EXTERNAL; the service web "+
			"has ECS.")
	wantError(api.DescribeTaskSets(ctx, &sdk.DescribeTaskSetsInput{Cluster: aws.String("default"),
		Service: aws.String("none")}))(t, "ServiceNotFound: Service not found.")
	wantError(api.ListGateways(ctx, &sdk.ListGatewaysInput{}))(t,
		"UnsupportedFeature: Gateways are not supported by this server.")
	wantError(api.ContinueServiceDeployment(ctx, &sdk.ContinueServiceDeploymentInput{ServiceDeploymentArn: aws.String("d"),
		HookId: aws.String("h")}))(t, "UnsupportedFeature: Deployment lifecycle hooks are not supported...")
}

// TestExecuteCommand checks the errors of AWS's preconditions. A call that meets all of them fails too, because the
// server has no sessions.
func TestExecuteCommand(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	api.registerDefinition("web", types.NetworkModeBridge)
	api.createTask(task.Task{ID: task.ID(id(1)), Family: "web", Node: "n1", Observed: task.Observed{State: task.Running}})
	api.createTask(task.Task{ID: task.ID(id(2)), Family: "web", Node: "n1", ExecuteCommand: true,
		Observed: task.Observed{State: task.Running}})
	api.createTask(task.Task{ID: task.ID(id(3)), Family: "web", ExecuteCommand: true,
		Observed: task.Observed{State: task.Pending}})
	for _, tc := range []struct {
		task, container string
		silent          bool
		want            string
	}{
		{id(9), "", false, "InvalidParameter: The referenced task was not found."},
		{id(2), "", true, "InvalidParameter: Interactive is the only mode supported currently."},
		{id(3), "", false, "InvalidParameter: The execute command failed because the task is not RUNNING; it is " +
			"PENDING."},
		{id(1), "", false,
			"InvalidParameter: The execute command failed because execute command was not enabled when the task " +
				"was run or the execute command agent isn’t running. Wait and try again or run a new task with " +
				"execute command enabled and try again."},
		{id(2), "db", false, "InvalidParameter: The container db does not exist in the task definition."},
		{id(2), "app", false,
			"TargetNotConnected: The execute command failed because this server has no sessions of AWS Systems " +
				"Manager..."},
	} {
		in := &sdk.ExecuteCommandInput{Task: &tc.task, Command: aws.String("sh"), Interactive: !tc.silent}
		if tc.container != "" {
			in.Container = &tc.container
		}
		wantError(api.ExecuteCommand(ctx, in))(t, tc.want)
	}
}

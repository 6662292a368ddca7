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

func TestAccountSettings(t *testing.T) {
	api, ctx := newAPI(t), t.Context()
	settings := func(in sdk.ListAccountSettingsInput) string {
		var got []string
		pages := sdk.NewListAccountSettingsPaginator(api, &in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return apitest.ErrorText(err)
			}
			for _, s := range page.Settings {
				got = append(got, fmt.Sprintf("%s=%s", s.Name, *s.Value))
			}
		}
		return strings.Join(got, " ")
	}
	all := settings(sdk.ListAccountSettingsInput{EffectiveSettings: true})
	if n := len(strings.Fields(all)); n != 12 {
		t.Errorf("%d settings, want 12: %s", n, all)
	}
	if got := settings(sdk.ListAccountSettingsInput{EffectiveSettings: true, MaxResults: 1}); got != all {
		t.Errorf("settings, page by page: %s, want %s", got, all)
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
			"InvalidParameter: Invalid principalArn \"me\": " +
				"it must be the ARN of a user, a role or the root of this account"},
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
		{"settings of the user",
			sdk.ListAccountSettingsInput{PrincipalArn: user}, "fargateTaskRetirementWaitPeriod=14"},
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

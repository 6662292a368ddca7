package ecs

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// accountSetting is a setting, the value that it has unless somebody changes it, and all it can have.
type accountSetting struct {
	name   types.SettingName
	value  string
	values []string
}

var onOff = []string{"enabled", "disabled"}

// accountSettings are the account settings by their names (ECS API Reference, Setting). Of all of them
// containerInsights alone has an effect, on new clusters.
var accountSettings = []accountSetting{
	{types.SettingNameAwsvpcTrunking, "disabled", onOff},
	{types.SettingNameContainerInsights, "disabled", []string{"enabled", "disabled", "enhanced"}},
	{types.SettingNameContainerInstanceLongArnFormat, "enabled", onOff},
	{types.SettingNameDefaultLogDriverMode, "non-blocking", []string{"blocking", "non-blocking"}},
	{"dualStackIPv6", "enabled", onOff}, // accepted and listed by AWS, though not in the model
	{types.SettingNameFargateEventWindows, "disabled", onOff},
	{types.SettingNameFargateFipsMode, "disabled", onOff},
	{types.SettingNameFargateTaskRetirementWaitPeriod, "7", []string{"0", "7", "14"}},
	{types.SettingNameGuardDutyActivate, "off", nil}, // AWS's own to change
	{types.SettingNameServiceLongArnFormat, "enabled", onOff},
	{types.SettingNameTagResourceAuthorization, "on", []string{"on", "off"}},
	{types.SettingNameTaskLongArnFormat, "enabled", onOff},
}

// settingNamed finds a setting by its name.
func settingNamed(name types.SettingName) (accountSetting, error) {
	names := make([]types.SettingName, len(accountSettings))
	for i, s := range accountSettings {
		if s.name == name {
			return s, nil
		}
		names[i] = s.name
	}
	if name == "" {
		return accountSetting{}, ecserr.Invalid("name can not be blank.")
	}
	return accountSetting{}, ecserr.OneOf("unknown", name, names)
}

// principalOf is who a call is about: the caller, who is the account's root, unless it names another.
func principalOf(sc arn.Scope, given *string) (string, error) {
	if aws.ToString(given) == "" {
		return identifier.RootARN(sc), nil
	}
	a, err := arn.Parse(*given)
	if err != nil || a.Service != "iam" || a.Account != sc.Account {
		return "", ecserr.Invalid("Invalid principalArn %q: it must be the ARN of a user, a role or the root of this account", *given)
	}
	return *given, nil
}

// ref names the setting of a principal.
func (s accountSetting) ref(sc arn.Scope, principal string) task.SettingRef {
	return task.SettingRef{Scope: sc, Name: string(s.name), Principal: principal}
}

// effective is the value that a setting has for a principal: its own, the account's, or AWS's default.
func effective(r store.Reader, sc arn.Scope, s accountSetting, principal string) string {
	for _, p := range []string{principal, identifier.RootARN(sc)} {
		if own, ok := task.FindSetting(r, s.ref(sc, p)); ok {
			return own.Value
		}
	}
	return s.value
}

func settingView(s accountSetting, value, principal string) types.Setting {
	view := types.Setting{Name: s.name, Value: &value, PrincipalArn: &principal, Type: types.SettingTypeUser}
	if s.values == nil {
		view.Type = types.SettingTypeAwsManaged
	}
	return view
}

// putSetting writes a setting of a principal.
func (a *api) putSetting(ctx context.Context, name types.SettingName, value, principal *string) (*types.Setting, error) {
	sc := awsapi.ScopeFrom(ctx)
	s, err := settingNamed(name)
	if err != nil {
		return nil, err
	}
	who, err := principalOf(sc, principal)
	switch {
	case err != nil:
		return nil, err
	case s.values == nil:
		return nil, ecserr.Invalid("The account setting %s is managed by AWS and cannot be changed.", s.name)
	case !slices.Contains(s.values, aws.ToString(value)):
		return nil, ecserr.Invalid("value of %s should be one of [%s]", s.name, strings.Join(s.values, ","))
	}
	_, err = awsapi.Update(ctx, a.db, func(tx *store.Tx) (struct{}, error) {
		task.PutSetting(tx, task.Setting{Account: sc.Account, Region: sc.Region, Name: string(name), Principal: who, Value: *value})
		return struct{}{}, nil
	})
	view := settingView(s, *value, who)
	return &view, err
}

func (a *api) putAccountSetting(ctx context.Context, in *sdk.PutAccountSettingInput) (*sdk.PutAccountSettingOutput, error) {
	view, err := a.putSetting(ctx, in.Name, in.Value, in.PrincipalArn)
	return &sdk.PutAccountSettingOutput{Setting: view}, err
}

// putAccountSettingDefault is for all of the account that have no setting of their own.
func (a *api) putAccountSettingDefault(ctx context.Context, in *sdk.PutAccountSettingDefaultInput) (*sdk.PutAccountSettingDefaultOutput, error) {
	view, err := a.putSetting(ctx, in.Name, in.Value, nil)
	return &sdk.PutAccountSettingDefaultOutput{Setting: view}, err
}

// deleteAccountSetting answers the value that holds from now on.
func (a *api) deleteAccountSetting(ctx context.Context, in *sdk.DeleteAccountSettingInput) (*sdk.DeleteAccountSettingOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	s, err := settingNamed(in.Name)
	if err != nil {
		return nil, err
	}
	who, err := principalOf(sc, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	value, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (string, error) {
		if _, ok := task.FindSetting(tx, s.ref(sc, who)); ok {
			task.DeleteSetting(tx, s.ref(sc, who))
		}
		return effective(tx, sc, s, who), nil
	})
	view := settingView(s, value, who)
	return &sdk.DeleteAccountSettingOutput{Setting: &view}, err
}

// listAccountSettings lists what was set for a principal, or what holds for it.
func (a *api) listAccountSettings(ctx context.Context, in *sdk.ListAccountSettingsInput) (*sdk.ListAccountSettingsOutput, error) {
	sc, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	size := &in.MaxResults // 0 is absent here
	if in.MaxResults == 0 {
		size = nil
	}
	page, err := newList("ListAccountSettings", size, in.NextToken, 10, 10)
	if err != nil {
		return nil, err
	}
	if in.Name == "" && in.Value != nil {
		return nil, ecserr.Invalid("value can only be given together with name")
	}
	if in.Name != "" {
		if _, err := settingNamed(in.Name); err != nil {
			return nil, err
		}
	}
	principal, err := principalOf(sc, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	out := &sdk.ListAccountSettingsOutput{Settings: []types.Setting{}}
	for _, s := range accountSettings {
		value := effective(r, sc, s, principal)
		_, own := task.FindSetting(r, s.ref(sc, principal))
		switch {
		case !own && !in.EffectiveSettings, string(s.name) <= page.after,
			in.Name != "" && in.Name != s.name, in.Value != nil && *in.Value != value:
			continue
		}
		if !page.Add(string(s.name), value) {
			break
		}
		out.Settings = append(out.Settings, settingView(s, value, principal))
	}
	out.NextToken = page.next()
	return out, nil
}

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

// accountSetting is an account setting with its default and its possible values.
type accountSetting struct {
	name         types.SettingName
	defaultValue string
	values       []string // nil if AWS manages the setting
}

// ref returns the reference of the setting of a principal.
func (s accountSetting) ref(scope arn.Scope, principal string) task.SettingRef {
	return task.SettingRef{Scope: scope, Name: string(s.name), Principal: principal}
}

var enabledOrDisabled = []string{"enabled", "disabled"}

// accountSettings are the account settings in the order of their names (ECS API Reference, Setting). Only
// containerInsights has an effect: on new clusters.
var accountSettings = []accountSetting{
	{types.SettingNameAwsvpcTrunking, "disabled", enabledOrDisabled},
	{types.SettingNameContainerInsights, "disabled", []string{"enabled", "disabled", "enhanced"}},
	{types.SettingNameContainerInstanceLongArnFormat, "enabled", enabledOrDisabled},
	{types.SettingNameDefaultLogDriverMode, "non-blocking", []string{"blocking", "non-blocking"}},
	{"dualStackIPv6", "enabled", enabledOrDisabled}, // AWS accepts and lists it, but its model does not have it
	{types.SettingNameFargateEventWindows, "disabled", enabledOrDisabled},
	{types.SettingNameFargateFipsMode, "disabled", enabledOrDisabled},
	{types.SettingNameFargateTaskRetirementWaitPeriod, "7", []string{"0", "7", "14"}},
	{types.SettingNameGuardDutyActivate, "off", nil},
	{types.SettingNameServiceLongArnFormat, "enabled", enabledOrDisabled},
	{types.SettingNameTagResourceAuthorization, "on", []string{"on", "off"}},
	{types.SettingNameTaskLongArnFormat, "enabled", enabledOrDisabled},
}

// settingNamed returns the account setting with this name.
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

// principalOf returns the principal of a request. The default is the root of the account, as which every caller
// acts.
func principalOf(scope arn.Scope, requested *string) (string, error) {
	if aws.ToString(requested) == "" {
		return identifier.RootARN(scope), nil
	}
	a, err := arn.Parse(*requested)
	if err != nil || a.Service != "iam" || a.Account != scope.Account {
		return "", ecserr.Invalid("Invalid principalArn %q: "+
			"it must be the ARN of a user, a role or the root of this account", *requested)
	}
	return *requested, nil
}

// effectiveValue returns the value of a setting for a principal: the principal's own, the account's, or AWS's default.
func effectiveValue(r store.Reader, scope arn.Scope, s accountSetting, principal string) string {
	for _, p := range []string{principal, identifier.RootARN(scope)} {
		if stored, ok := task.FindSetting(r, s.ref(scope, p)); ok {
			return stored.Value
		}
	}
	return s.defaultValue
}

func renderSetting(s accountSetting, value, principal string) types.Setting {
	view := types.Setting{Name: s.name, Value: &value, PrincipalArn: &principal, Type: types.SettingTypeUser}
	if s.values == nil {
		view.Type = types.SettingTypeAwsManaged
	}
	return view
}

// putSetting stores a setting of a principal.
func (a *api) putSetting(ctx context.Context, name types.SettingName, value, principalARN *string) (
	*types.Setting, error,
) {
	scope := awsapi.ScopeFrom(ctx)
	s, err := settingNamed(name)
	if err != nil {
		return nil, err
	}
	principal, err := principalOf(scope, principalARN)
	switch {
	case err != nil:
		return nil, err
	case s.values == nil:
		return nil, ecserr.Invalid("The account setting %s is managed by AWS and cannot be changed.", s.name)
	case !slices.Contains(s.values, aws.ToString(value)):
		return nil, ecserr.Invalid("value of %s should be one of [%s]", s.name, strings.Join(s.values, ","))
	}
	row := task.Setting{
		Account: scope.Account, Region: scope.Region, Name: string(name), Principal: principal, Value: *value,
	}
	_, err = awsapi.Update(ctx, a.db, func(tx *store.Tx) (struct{}, error) {
		task.PutSetting(tx, row)
		return struct{}{}, nil
	})
	view := renderSetting(s, *value, principal)
	return &view, err
}

func (a *api) putAccountSetting(ctx context.Context, in *sdk.PutAccountSettingInput) (
	*sdk.PutAccountSettingOutput, error,
) {
	view, err := a.putSetting(ctx, in.Name, in.Value, in.PrincipalArn)
	return &sdk.PutAccountSettingOutput{Setting: view}, err
}

// putAccountSettingDefault stores a setting of the account, which applies to all principals that do not have the
// setting themselves.
func (a *api) putAccountSettingDefault(ctx context.Context, in *sdk.PutAccountSettingDefaultInput) (
	*sdk.PutAccountSettingDefaultOutput, error,
) {
	view, err := a.putSetting(ctx, in.Name, in.Value, nil)
	return &sdk.PutAccountSettingDefaultOutput{Setting: view}, err
}

// deleteAccountSetting returns the value that applies after the deletion.
func (a *api) deleteAccountSetting(ctx context.Context, in *sdk.DeleteAccountSettingInput) (
	*sdk.DeleteAccountSettingOutput, error,
) {
	scope := awsapi.ScopeFrom(ctx)
	s, err := settingNamed(in.Name)
	if err != nil {
		return nil, err
	}
	principal, err := principalOf(scope, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	value, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (string, error) {
		if ref := s.ref(scope, principal); hasSetting(tx, ref) {
			task.DeleteSetting(tx, ref)
		}
		return effectiveValue(tx, scope, s, principal), nil
	})
	view := renderSetting(s, value, principal)
	return &sdk.DeleteAccountSettingOutput{Setting: &view}, err
}

func hasSetting(r store.Reader, ref task.SettingRef) bool {
	_, ok := task.FindSetting(r, ref)
	return ok
}

// matchesSetting applies the filters of ListAccountSettings.
func matchesSetting(in *sdk.ListAccountSettingsInput, name types.SettingName, value string) bool {
	return (in.Name == "" || in.Name == name) && (in.Value == nil || *in.Value == value)
}

// listAccountSettings lists the settings that a principal has, or with effectiveSettings the values of all settings
// that apply to it.
func (a *api) listAccountSettings(ctx context.Context, in *sdk.ListAccountSettingsInput) (
	*sdk.ListAccountSettingsOutput, error,
) {
	scope, r := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	size := &in.MaxResults
	if in.MaxResults == 0 { // an absent maxResults decodes to 0
		size = nil
	}
	page, err := newPage("ListAccountSettings", size, in.NextToken, 10, 10)
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
	principal, err := principalOf(scope, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	out := &sdk.ListAccountSettingsOutput{Settings: []types.Setting{}}
	for _, s := range accountSettings {
		value := effectiveValue(r, scope, s, principal)
		listed := in.EffectiveSettings || hasSetting(r, s.ref(scope, principal))
		if string(s.name) <= page.after || !listed || !matchesSetting(in, s.name, value) {
			continue
		}
		if !page.Add(string(s.name), value) {
			break
		}
		out.Settings = append(out.Settings, renderSetting(s, value, principal))
	}
	out.NextToken = page.next()
	return out, nil
}

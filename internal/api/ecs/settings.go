package ecs

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// accountSettings are the account settings and their defaults (ECS API Reference, Setting). None can be changed.
var accountSettings = []struct {
	name  types.SettingName
	value string
}{
	{types.SettingNameAwsvpcTrunking, "disabled"},
	{types.SettingNameContainerInsights, "disabled"},
	{types.SettingNameContainerInstanceLongArnFormat, "enabled"},
	{types.SettingNameDefaultLogDriverMode, "non-blocking"},
	{"dualStackIPv6", "enabled"}, // accepted and listed by AWS, though not in the model
	{types.SettingNameFargateEventWindows, "disabled"},
	{types.SettingNameFargateFipsMode, "disabled"},
	{types.SettingNameFargateTaskRetirementWaitPeriod, "7"},
	{types.SettingNameGuardDutyActivate, "off"},
	{types.SettingNameServiceLongArnFormat, "enabled"},
	{types.SettingNameTagResourceAuthorization, "on"},
	{types.SettingNameTaskLongArnFormat, "enabled"},
}

// listAccountSettings knows no stored settings, so that only the effective ones are ever listed.
func (a *api) listAccountSettings(ctx context.Context, in *sdk.ListAccountSettingsInput) (*sdk.ListAccountSettingsOutput, error) {
	size := &in.MaxResults // 0 is absent here
	if in.MaxResults == 0 {
		size = nil
	}
	page, err := newList("ListAccountSettings", size, in.NextToken, 10, 10)
	if err != nil {
		return nil, err
	}
	names := make([]types.SettingName, len(accountSettings))
	for i, s := range accountSettings {
		names[i] = s.name
	}
	if in.Name == "" && in.Value != nil {
		return nil, invalid("value can only be given together with name")
	}
	if err := oneOf("unknown", in.Name, names); err != nil {
		return nil, err
	}
	principal := in.PrincipalArn
	if principal == nil {
		principal = aws.String(rootARN(scope(ctx)))
	}
	out := &sdk.ListAccountSettingsOutput{Settings: []types.Setting{}}
	for _, s := range accountSettings {
		switch {
		case !in.EffectiveSettings, string(s.name) <= page.after,
			in.Name != "" && in.Name != s.name, in.Value != nil && *in.Value != s.value:
			continue
		}
		if !page.Add(string(s.name), s.value) {
			break
		}
		kind := types.SettingTypeUser
		if s.name == types.SettingNameGuardDutyActivate {
			kind = types.SettingTypeAwsManaged
		}
		out.Settings = append(out.Settings, types.Setting{Name: s.name, Value: aws.String(s.value), PrincipalArn: principal, Type: kind})
	}
	out.NextToken = page.next()
	return out, nil
}

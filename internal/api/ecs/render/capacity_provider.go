package render

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/task"
)

// CapacityProvider is a capacity provider; one that was never made is predefined.
func CapacityProvider(p *task.CapacityProvider, tags bool) (*types.CapacityProvider, error) {
	view := &types.CapacityProvider{
		CapacityProviderArn: aws.String(p.ARN()),
		Name:                aws.String(p.Name),
		Status:              types.CapacityProviderStatusActive,
		UpdateStatus:        types.CapacityProviderUpdateStatus(p.UpdateStatus),
		Tags:                []types.Tag{},
		Type:                types.CapacityProviderTypeEc2Autoscaling,
	}
	if strings.HasPrefix(p.Name, task.FargateProvider) {
		view.Type = types.CapacityProviderType(p.Name)
		return view, nil
	}
	sent, err := codec.Decode[sdk.CreateCapacityProviderInput]("capacity provider "+p.Name, p.Sent)
	if err != nil {
		return nil, err
	}
	view.AutoScalingGroupProvider = sent.AutoScalingGroupProvider
	if tags {
		view.Tags = Tags(p.Tags)
	}
	return view, nil
}

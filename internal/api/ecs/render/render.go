// Package render converts rows to the shapes that ECS returns: one file for each kind of resource.
//
// It reads counts, events and related rows from a snapshot, and writes nothing. Package taskdef renders task
// definitions, because they are stored as they were sent.
package render

import (
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/task"
)

// Tags returns tags in the order of their keys. It never returns nil.
func Tags(tags map[string]string) []types.Tag {
	view := make([]types.Tag, 0, len(tags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		view = append(view, types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return view
}

// CapacityProvider returns a capacity provider. The predefined ones have no row, only a name.
func CapacityProvider(p *task.CapacityProvider, withTags bool) (*types.CapacityProvider, error) {
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
	request, err := codec.Decode[sdk.CreateCapacityProviderInput]("capacity provider "+p.Name, p.Sent)
	if err != nil {
		return nil, err
	}
	view.AutoScalingGroupProvider = request.AutoScalingGroupProvider
	if withTags {
		view.Tags = Tags(p.Tags)
	}
	return view, nil
}

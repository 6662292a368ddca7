// Package render turns rows into the shapes that ECS sends: one file for each resource.
//
// It reads counts, events and related rows from a snapshot and changes nothing. Task definitions are rendered by
// package taskdef, because they are kept as they were sent.
package render

import (
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// Tags lists tags by their keys; never nil.
func Tags(tags map[string]string) []types.Tag {
	view := make([]types.Tag, 0, len(tags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		view = append(view, types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return view
}

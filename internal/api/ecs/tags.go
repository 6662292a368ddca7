package ecs

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/api/ecs/render"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// tagPattern matches the keys and values of tags (ECS Developer Guide, "Tag restrictions").
var tagPattern = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// tagsOf checks the tags of a request and returns them as a map, or nil if there are none.
func tagsOf(tags []types.Tag) (map[string]string, error) {
	if len(tags) > task.MaxTags {
		return nil, ecserr.Invalid("The number of tags cannot be more than %d", task.MaxTags)
	}
	var m map[string]string
	for _, tag := range tags {
		key, value := aws.ToString(tag.Key), aws.ToString(tag.Value)
		switch {
		case key == "" || utf8.RuneCountInString(key) > 128:
			return nil, ecserr.Invalid("The key of a tag must have 1 to 128 characters: %q", key)
		case utf8.RuneCountInString(value) > 256:
			return nil, ecserr.Invalid("The value of the tag %s must have at most 256 characters", key)
		case !tagPattern.MatchString(key) || !tagPattern.MatchString(value):
			return nil, ecserr.Invalid("The tag %s has characters other than letters, digits, spaces and _ . : / = + - @", key)
		case isReservedTag(key):
			return nil, reservedTagError(key)
		}
		if _, exists := m[key]; exists {
			return nil, ecserr.Invalid("The tag %s is given twice", key)
		}
		if m == nil {
			m = map[string]string{}
		}
		m[key] = value
	}
	return m, nil
}

func isReservedTag(key string) bool { return strings.HasPrefix(strings.ToLower(key), "aws:") }

func reservedTagError(key string) error {
	return ecserr.Invalid("The tag %s begins with aws:, which is reserved", key)
}

// taggedRow is the row of a resource that has tags.
type taggedRow struct {
	tags map[string]string
	// set writes the row with other tags.
	set func(*store.Tx, map[string]string)
}

// findTagged returns the row of a resource and the kind of the resource. The row is nil if the resource does not exist
// or is inactive.
func findTagged(r store.Reader, scope arn.Scope, resource *string) (row *taggedRow, kind string, err error) {
	a, err := arn.Parse(aws.ToString(resource))
	if err != nil || a.Service != "ecs" {
		return nil, "", ecserr.Invalid("The ARN provided is invalid.")
	}
	kind, name := a.Split()
	if a.Account != scope.Account || a.Region != scope.Region {
		return nil, kind, nil
	}
	switch kind {
	case identifier.Cluster:
		row = taggedCluster(r, scope, name)
	case identifier.Service:
		row, err = taggedService(r, scope, name)
	case identifier.TaskDefinition:
		row, err = taggedDefinition(r, scope, *resource)
	case identifier.Task:
		row = taggedTask(r, scope, name)
	case identifier.CapacityProvider:
		row, err = taggedProvider(r, scope, name)
	case identifier.ContainerInstance:
		row = taggedInstance(r, scope, name)
	default:
		err = ecserr.Unsupported("Tags of a %s are not supported by this server; clusters, services, task definitions, "+
			"tasks, container instances and capacity providers have them.", kind)
	}
	return row, kind, err
}

func taggedCluster(r store.Reader, scope arn.Scope, name string) *taggedRow {
	c, ok := task.FindCluster(r, scope, name)
	if !ok || c.Status != task.Active {
		return nil
	}
	return &taggedRow{c.Tags, func(tx *store.Tx, tags map[string]string) { task.SetClusterTags(tx, *c, tags) }}
}

func taggedService(r store.Reader, scope arn.Scope, name string) (*taggedRow, error) {
	cluster, name, isLong := strings.Cut(name, "/")
	if !isLong {
		return nil, ecserr.Invalid("Long arn format must be used for tagging operations")
	}
	s, ok := task.FindService(r, task.ServiceRef{Scope: scope, Cluster: cluster, Name: name})
	if !ok || s.Status == task.Inactive {
		return nil, nil
	}
	return &taggedRow{s.Tags, func(tx *store.Tx, tags map[string]string) { task.SetServiceTags(tx, *s, tags) }}, nil
}

func taggedDefinition(r store.Reader, scope arn.Scope, resource string) (*taggedRow, error) {
	def, err := identifier.ParseDefinition(scope, resource)
	if err != nil || def.Revision == 0 {
		return nil, ecserr.Invalid("The ARN provided is invalid.")
	}
	d, err := task.GetDefinition(r, scope, def.Family, def.Revision)
	if err != nil {
		return nil, nil
	}
	return &taggedRow{d.Tags, func(tx *store.Tx, tags map[string]string) { task.SetDefinitionTags(tx, *d, tags) }}, nil
}

func taggedTask(r store.Reader, scope arn.Scope, name string) *taggedRow {
	cluster, id, _ := strings.Cut(name, "/")
	t, err := task.GetTask(r, task.Ref{Scope: scope, Cluster: cluster, ID: task.ID(id)})
	if err != nil {
		return nil
	}
	return &taggedRow{t.Tags, func(tx *store.Tx, tags map[string]string) { task.SetTaskTags(tx, *t, tags) }}
}

func taggedProvider(r store.Reader, scope arn.Scope, name string) (*taggedRow, error) {
	p, ok := task.FindProvider(r, scope, name)
	switch {
	case ok:
		return &taggedRow{p.Tags, func(tx *store.Tx, tags map[string]string) { task.SetProviderTags(tx, *p, tags) }}, nil
	case slices.Contains(predefinedProviders, name):
		return nil, ecserr.Invalid("The capacity provider %s is predefined and cannot be tagged.", name)
	}
	return nil, nil
}

func taggedInstance(r store.Reader, scope arn.Scope, name string) *taggedRow {
	cluster, id, _ := strings.Cut(name, "/")
	c, ok := findInstance(r, task.ClusterRef{Scope: scope, Name: cluster}, id)
	if !ok || c.Status == task.Inactive {
		return nil
	}
	return &taggedRow{c.Tags, func(tx *store.Tx, tags map[string]string) { task.SetInstanceTags(tx, *c, tags) }}
}

func (a *api) listTagsForResource(ctx context.Context, in *sdk.ListTagsForResourceInput) (
	*sdk.ListTagsForResourceOutput, error,
) {
	row, kind, err := findTagged(a.db.Snapshot(), awsapi.ScopeFrom(ctx), in.ResourceArn)
	if err != nil {
		return nil, err
	}
	if row == nil {
		return nil, ecserr.Invalid("The specified %s is inactive. Specify an active %s and try again.", kind, kind)
	}
	return &sdk.ListTagsForResourceOutput{Tags: render.Tags(row.tags)}, nil
}

func (a *api) tagResource(ctx context.Context, in *sdk.TagResourceInput) (*sdk.TagResourceOutput, error) {
	add, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	return &sdk.TagResourceOutput{}, a.changeTags(ctx, in.ResourceArn, add, nil)
}

func (a *api) untagResource(ctx context.Context, in *sdk.UntagResourceInput) (*sdk.UntagResourceOutput, error) {
	if i := slices.IndexFunc(in.TagKeys, isReservedTag); i >= 0 {
		return nil, reservedTagError(in.TagKeys[i])
	}
	return &sdk.UntagResourceOutput{}, a.changeTags(ctx, in.ResourceArn, nil, in.TagKeys)
}

func (a *api) changeTags(ctx context.Context, resource *string, add map[string]string, remove []string) error {
	scope := awsapi.ScopeFrom(ctx)
	_, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (struct{}, error) {
		row, kind, err := findTagged(tx, scope, resource)
		if err != nil {
			return struct{}{}, err
		}
		if row == nil {
			msg := "The specified " + kind + " was not found. Specify a valid " + kind + " and try again."
			return struct{}{}, &types.ResourceNotFoundException{Message: &msg}
		}
		tags, err := task.MergeTags(row.tags, add, remove)
		if err != nil {
			return struct{}{}, err
		}
		row.set(tx, tags)
		return struct{}{}, nil
	})
	return err
}

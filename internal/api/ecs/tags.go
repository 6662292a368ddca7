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

// tagPattern is what keys and values consist of (ECS Developer Guide, "Tag restrictions").
var tagPattern = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// tagsOf checks tags and makes them a map; nil when there are none.
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
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return nil, ecserr.Invalid("The tag %s begins with aws:, which is reserved", key)
		}
		if _, again := m[key]; again {
			return nil, ecserr.Invalid("The tag %s is given twice", key)
		}
		if m == nil {
			m = map[string]string{}
		}
		m[key] = value
	}
	return m, nil
}

// tagged is a resource that has tags, and the way to write others.
type tagged struct {
	tags map[string]string
	set  func(*store.Tx, map[string]string)
}

// findTagged finds a cluster, service, definition, task or container instance by its ARN; ok is false when it is not there.
func findTagged(r store.Reader, sc arn.Scope, resource *string) (t tagged, kind string, ok bool, err error) {
	a, err := arn.Parse(aws.ToString(resource))
	if err != nil || a.Service != "ecs" {
		return t, "", false, ecserr.Invalid("The ARN provided is invalid.")
	}
	kind, tail := a.Split()
	if a.Account != sc.Account || a.Region != sc.Region {
		return t, kind, false, nil
	}
	switch kind {
	case "cluster":
		if c, ok := task.FindCluster(r, sc, tail); ok && c.Status == task.Active {
			return tagged{c.Tags, func(tx *store.Tx, tags map[string]string) { task.SetClusterTags(tx, *c, tags) }}, kind, true, nil
		}
	case "service":
		cluster, name, long := strings.Cut(tail, "/")
		if !long {
			return t, kind, false, ecserr.Invalid("Long arn format must be used for tagging operations")
		}
		if s, ok := task.FindService(r, task.ServiceRef{Scope: sc, Cluster: cluster, Name: name}); ok && s.Status != task.Inactive {
			return tagged{s.Tags, func(tx *store.Tx, tags map[string]string) { task.SetServiceTags(tx, *s, tags) }}, kind, true, nil
		}
	case "task-definition":
		ref, err := identifier.ParseDefinition(sc, *resource)
		if err != nil || ref.Revision == 0 {
			return t, kind, false, ecserr.Invalid("The ARN provided is invalid.")
		}
		if d, err := task.GetDefinition(r, sc, ref.Family, ref.Revision); err == nil {
			return tagged{d.Tags, func(tx *store.Tx, tags map[string]string) { task.SetDefinitionTags(tx, *d, tags) }}, kind, true, nil
		}
	case "task":
		cluster, id, _ := strings.Cut(tail, "/")
		if tk, err := task.GetTask(r, task.Ref{Scope: sc, Cluster: cluster, ID: task.ID(id)}); err == nil {
			return tagged{tk.Tags, func(tx *store.Tx, tags map[string]string) { task.SetTaskTags(tx, *tk, tags) }}, kind, true, nil
		}
	case "capacity-provider":
		if p, ok := task.FindProvider(r, sc, tail); ok {
			return tagged{p.Tags, func(tx *store.Tx, tags map[string]string) { task.SetProviderTags(tx, *p, tags) }}, kind, true, nil
		}
		if slices.Contains(predefined, tail) {
			return t, kind, false, ecserr.Invalid("The capacity provider %s is predefined and cannot be tagged.", tail)
		}
	case "container-instance":
		cluster, id, _ := strings.Cut(tail, "/")
		if c, ok := findInstance(r, sc, cluster, id); ok && c.Status != task.Inactive {
			return tagged{c.Tags, func(tx *store.Tx, tags map[string]string) { task.SetInstanceTags(tx, *c, tags) }}, kind, true, nil
		}
	default:
		return t, kind, false, ecserr.Unsupported("Tags of a %s are not supported by this server; clusters, services, task definitions, tasks, container instances and capacity providers have them.", kind)
	}
	return t, kind, false, nil
}

func (a *api) listTagsForResource(ctx context.Context, in *sdk.ListTagsForResourceInput) (*sdk.ListTagsForResourceOutput, error) {
	t, kind, ok, err := findTagged(a.db.Snapshot(), awsapi.ScopeFrom(ctx), in.ResourceArn)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ecserr.Invalid("The specified %s is inactive. Specify an active %s and try again.", kind, kind)
	}
	return &sdk.ListTagsForResourceOutput{Tags: render.Tags(t.tags)}, nil
}

func (a *api) tagResource(ctx context.Context, in *sdk.TagResourceInput) (*sdk.TagResourceOutput, error) {
	add, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	return &sdk.TagResourceOutput{}, a.retag(ctx, in.ResourceArn, add, nil)
}

func (a *api) untagResource(ctx context.Context, in *sdk.UntagResourceInput) (*sdk.UntagResourceOutput, error) {
	for _, key := range in.TagKeys {
		if strings.HasPrefix(strings.ToLower(key), "aws:") {
			return nil, ecserr.Invalid("The tag %s begins with aws:, which is reserved", key)
		}
	}
	return &sdk.UntagResourceOutput{}, a.retag(ctx, in.ResourceArn, nil, in.TagKeys)
}

func (a *api) retag(ctx context.Context, resource *string, add map[string]string, remove []string) error {
	sc := awsapi.ScopeFrom(ctx)
	_, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (struct{}, error) {
		t, kind, ok, err := findTagged(tx, sc, resource)
		if err != nil {
			return struct{}{}, err
		}
		if !ok {
			msg := "The specified " + kind + " was not found. Specify a valid " + kind + " and try again."
			return struct{}{}, &types.ResourceNotFoundException{Message: &msg}
		}
		tags, err := task.Retag(t.tags, add, remove)
		if err != nil {
			return struct{}{}, err
		}
		t.set(tx, tags)
		return struct{}{}, nil
	})
	return err
}

package cloudmap

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
)

// maxTagList is the largest number of tags or keys in one request. A resource can have fewer.
const maxTagList = 200

// tags checks a list of tags.
func (c *constraints) tags(tags []types.Tag) {
	c.entries(len(tags), "tags", 0, maxTagList)
	for i := range tags {
		path := fmt.Sprintf("tags.%d.member", i+1)
		c.requiredText(tags[i].Key, path+".key", tagKey)
		c.requiredText(tags[i].Value, path+".value", tagValue)
	}
}

// tagMap converts tags that satisfy the constraints.
func tagMap(tags []types.Tag) (map[string]string, error) {
	if len(tags) == 0 {
		return nil, nil
	}
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		if _, twice := m[*t.Key]; twice {
			return nil, invalid("The tag key %s appears more than once", *t.Key)
		}
		if strings.HasPrefix(strings.ToLower(*t.Key), "aws:") {
			return nil, invalid("The tag key %s begins with the reserved prefix aws:", *t.Key)
		}
		m[*t.Key] = *t.Value
	}
	if len(m) > registry.MaxTags {
		return nil, fault.New(fault.Limit, "tags", "A resource can have at most %d tags; the request has %d",
			registry.MaxTags, len(m))
	}
	return m, nil
}

func (a *api) tagResource(ctx context.Context, in *sd.TagResourceInput) (*sd.TagResourceOutput, error) {
	var c constraints
	sc := awsapi.ScopeFrom(ctx)
	res := c.resource(sc, in.ResourceARN)
	if c.required(in.Tags != nil, "tags") {
		c.tags(in.Tags)
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, withResource(err, *in.ResourceARN)
	}
	return awsapi.Update(ctx, a.db, func(tx *store.Tx) (*sd.TagResourceOutput, error) {
		return nil, withResource(registry.PutTags(tx, sc, res, tags), *in.ResourceARN)
	})
}

// withResource adds the ARN of the resource to an error about too many tags.
func withResource(err error, arn string) error {
	var f *fault.Error
	if errors.As(err, &f) && f.Kind == fault.Limit {
		return f.With("ResourceName", arn)
	}
	return err
}

func (a *api) untagResource(ctx context.Context, in *sd.UntagResourceInput) (*sd.UntagResourceOutput, error) {
	var c constraints
	sc := awsapi.ScopeFrom(ctx)
	res := c.resource(sc, in.ResourceARN)
	if c.required(in.TagKeys != nil, "tagKeys") {
		c.entries(len(in.TagKeys), "tagKeys", 0, maxTagList)
		for i := range in.TagKeys {
			c.optionalText(&in.TagKeys[i], fmt.Sprintf("tagKeys.%d.member", i+1), tagKey)
		}
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	return awsapi.Update(ctx, a.db, func(tx *store.Tx) (*sd.UntagResourceOutput, error) {
		return nil, registry.DeleteTags(tx, sc, res, in.TagKeys)
	})
}

func (a *api) listTagsForResource(
	ctx context.Context, in *sd.ListTagsForResourceInput,
) (*sd.ListTagsForResourceOutput, error) {
	var c constraints
	sc := awsapi.ScopeFrom(ctx)
	res := c.resource(sc, in.ResourceARN)
	if err := c.err(); err != nil {
		return nil, err
	}
	all, err := registry.Tags(a.snapshot(ctx), sc, res)
	if err != nil {
		return nil, err
	}
	tags := make([]types.Tag, 0, len(all))
	for _, k := range slices.Sorted(maps.Keys(all)) {
		v := all[k]
		tags = append(tags, types.Tag{Key: &k, Value: &v})
	}
	return &sd.ListTagsForResourceOutput{Tags: tags}, nil
}

// resource checks the ARN of a resource that can have tags. The ARN of any other resource is valid, but is not found.
func (c *constraints) resource(sc arn.Scope, name *string) registry.Resource {
	c.requiredText(name, "resourceARN", resourceName)
	if name == nil {
		return registry.Resource{}
	}
	a, err := arn.Parse(*name)
	if err != nil {
		c.add(*name, "resourceARN", "Member must be an ARN: "+err.Error())
		return registry.Resource{}
	}
	switch kind, _ := a.Split(); kind {
	case namespaceResource, serviceResource:
		return registry.Resource{Namespace: kind == namespaceResource, ID: plainID(sc, kind, *name)}
	default:
		return registry.Resource{ID: *name} // no resource has this id
	}
}

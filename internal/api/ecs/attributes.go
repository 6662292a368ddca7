package ecs

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/api/ecs/identifier"
	"github.com/bakingclouds/rollcall/internal/api/ecs/render"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/placement"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// attributeValue is what values of attributes consist of (ECS API Reference, Attribute).
var attributeValue = regexp.MustCompile(`^([A-Za-z0-9_.@:/\\-]([A-Za-z0-9_.@:/\\ -]{0,126}[A-Za-z0-9_.@:/\\-])?)?$`)

// checkAttributes applies the rules of attributes that clients set and delete.
func checkAttributes(attributes []types.Attribute) error {
	if len(attributes) == 0 || len(attributes) > 10 {
		return ecserr.Invalid("Between 1 and 10 attributes can be given at once")
	}
	for _, at := range attributes {
		name := aws.ToString(at.Name)
		if err := ecserr.OneOf("target type", at.TargetType, at.TargetType.Values()); err != nil {
			return err
		}
		switch {
		case !identifier.ValidAttributeName(name):
			return ecserr.Invalid("Invalid attribute name %q: up to 128 letters, digits, hyphens, underscores, slashes, backslashes and periods are allowed", name)
		case strings.HasPrefix(name, "ecs.") || strings.HasPrefix(name, "com.amazonaws.ecs."):
			return ecserr.Invalid("The attribute %s is one of Amazon ECS's own and cannot be changed", name)
		case !attributeValue.MatchString(aws.ToString(at.Value)):
			return ecserr.Invalid("Invalid value of the attribute %s: up to 128 letters, digits, and -_.@:/\\ are allowed, and spaces inside", name)
		case aws.ToString(at.TargetId) == "":
			return ecserr.Invalid("The attribute %s has no targetId", name)
		case at.TargetType == "" && !strings.HasPrefix(*at.TargetId, "arn:"):
			return ecserr.Invalid("The attribute %s has a short targetId and therefore needs a targetType", name)
		}
	}
	return nil
}

// target finds the container instance that an attribute is of.
func target(r store.Reader, sc arn.Scope, cluster string, at types.Attribute) (*task.ContainerInstance, error) {
	id, err := identifier.ParseIn(sc, cluster, "container-instance", aws.ToString(at.TargetId))
	if err != nil {
		return nil, err
	}
	c, ok := findInstance(r, sc, cluster, id.Name)
	if !ok || c.Status == task.Inactive {
		return nil, &types.TargetNotFoundException{Message: aws.String("The specified target was not found: " + *at.TargetId)}
	}
	return c, nil
}

func (a *api) putAttributes(ctx context.Context, in *sdk.PutAttributesInput) (*sdk.PutAttributesOutput, error) {
	put, err := a.eachAttribute(ctx, in.Cluster, in.Attributes, func(tx *store.Tx, c *task.ContainerInstance, at types.Attribute) (*types.Attribute, error) {
		view := render.Attribute(c, *at.Name, aws.ToString(at.Value))
		return &view, task.SetAttributes(tx, *c, map[string]string{*at.Name: aws.ToString(at.Value)})
	})
	return &sdk.PutAttributesOutput{Attributes: put}, err
}

func (a *api) deleteAttributes(ctx context.Context, in *sdk.DeleteAttributesInput) (*sdk.DeleteAttributesOutput, error) {
	deleted, err := a.eachAttribute(ctx, in.Cluster, in.Attributes, func(tx *store.Tx, c *task.ContainerInstance, at types.Attribute) (*types.Attribute, error) {
		view := render.Attribute(c, *at.Name, c.Attributes[*at.Name])
		if !task.DeleteAttribute(tx, *c, *at.Name) {
			return nil, nil
		}
		return &view, nil
	})
	return &sdk.DeleteAttributesOutput{Attributes: deleted}, err
}

// eachAttribute does something to each attribute, all in one transaction, and returns what do returns.
func (a *api) eachAttribute(ctx context.Context, cluster *string, attributes []types.Attribute,
	do func(*store.Tx, *task.ContainerInstance, types.Attribute) (*types.Attribute, error),
) ([]types.Attribute, error) {
	sc := awsapi.ScopeFrom(ctx)
	name, err := identifier.ClusterName(sc, cluster)
	if err == nil {
		err = checkAttributes(attributes)
	}
	if err != nil {
		return nil, err
	}
	return awsapi.Update(ctx, a.db, func(tx *store.Tx) ([]types.Attribute, error) {
		if _, err := task.GetCluster(tx, sc, name); err != nil {
			return nil, err
		}
		done := []types.Attribute{}
		for _, at := range attributes {
			c, err := target(tx, sc, name, at)
			if err != nil {
				return nil, err
			}
			view, err := do(tx, c, at)
			if err != nil {
				return nil, err
			}
			if view != nil {
				done = append(done, *view)
			}
		}
		return done, nil
	})
}

// listAttributes lists one entry for each attribute of each container instance.
func (a *api) listAttributes(ctx context.Context, in *sdk.ListAttributesInput) (*sdk.ListAttributesOutput, error) {
	page, err := newListOf[types.Attribute]("ListAttributes", in.MaxResults, in.NextToken, 100, 100)
	if err != nil {
		return nil, err
	}
	sc, s := awsapi.ScopeFrom(ctx), a.db.Snapshot()
	cluster, err := activeCluster(s, sc, in.Cluster)
	switch {
	case err != nil:
		return nil, err
	case in.TargetType != types.TargetTypeContainerInstance:
		return nil, ecserr.Invalid("target type should be one of [container-instance]")
	case in.AttributeValue != nil && aws.ToString(in.AttributeName) == "":
		return nil, ecserr.Invalid("attributeValue needs an attributeName")
	}
	inventory := placement.ReadInventory(s)
	for _, c := range activeInstances(s, sc, cluster) {
		h, _ := inventory.Host(task.ClusterRef{Scope: sc, Name: cluster}, c.ID())
		attributes := h.Attributes()
		for _, name := range slices.Sorted(maps.Keys(attributes)) {
			key, value := c.ID()+"/"+name, attributes[name]
			if key <= page.after || in.AttributeName != nil && *in.AttributeName != name || in.AttributeValue != nil && *in.AttributeValue != value {
				continue
			}
			if !page.Add(key, render.Attribute(c, name, value)) {
				return &sdk.ListAttributesOutput{Attributes: page.Items, NextToken: page.next()}, nil
			}
		}
	}
	return &sdk.ListAttributesOutput{Attributes: page.Items, NextToken: page.next()}, nil
}

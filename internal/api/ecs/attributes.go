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
	"github.com/bakingclouds/rollcall/internal/placement"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// attributeValuePattern matches the values of attributes (ECS API Reference, Attribute).
var attributeValuePattern = regexp.MustCompile(
	`^([A-Za-z0-9_.@:/\\-]([A-Za-z0-9_.@:/\\ -]{0,126}[A-Za-z0-9_.@:/\\-])?)?$`)

// checkAttributes checks the attributes that a request sets or deletes.
func checkAttributes(attributes []types.Attribute) error {
	if len(attributes) == 0 || len(attributes) > 10 {
		return ecserr.Invalid("Between 1 and 10 attributes can be given at once")
	}
	for _, attribute := range attributes {
		if err := checkAttribute(attribute); err != nil {
			return err
		}
	}
	return nil
}

func checkAttribute(attribute types.Attribute) error {
	name := aws.ToString(attribute.Name)
	if err := ecserr.OneOf("target type", attribute.TargetType, attribute.TargetType.Values()); err != nil {
		return err
	}
	switch {
	case !identifier.ValidAttributeName(name):
		return ecserr.Invalid("Invalid attribute name %q: "+
			"up to 128 letters, digits, hyphens, underscores, slashes, backslashes and periods are allowed", name)
	case strings.HasPrefix(name, "ecs.") || strings.HasPrefix(name, "com.amazonaws.ecs."):
		return ecserr.Invalid("The attribute %s is one of Amazon ECS's own and cannot be changed", name)
	case !attributeValuePattern.MatchString(aws.ToString(attribute.Value)):
		return ecserr.Invalid("Invalid value of the attribute %s: "+
			"up to 128 letters, digits, and -_.@:/\\ are allowed, and spaces inside", name)
	case aws.ToString(attribute.TargetId) == "":
		return ecserr.Invalid("The attribute %s has no targetId", name)
	case attribute.TargetType == "" && !strings.HasPrefix(*attribute.TargetId, "arn:"):
		return ecserr.Invalid("The attribute %s has a short targetId and therefore needs a targetType", name)
	}
	return nil
}

// attributeTarget returns the container instance that a request sets or deletes an attribute of.
func attributeTarget(r store.Reader, cluster task.ClusterRef, attribute types.Attribute) (
	*task.ContainerInstance, error,
) {
	id, err := identifier.ParseIn(cluster, identifier.ContainerInstance, aws.ToString(attribute.TargetId))
	if err != nil {
		return nil, err
	}
	instance, ok := findInstance(r, cluster, id.Name)
	if !ok || instance.Status == task.Inactive {
		return nil, &types.TargetNotFoundException{
			Message: aws.String("The specified target was not found: " + *attribute.TargetId),
		}
	}
	return instance, nil
}

func (a *api) putAttributes(ctx context.Context, in *sdk.PutAttributesInput) (*sdk.PutAttributesOutput, error) {
	set, err := a.changeAttributes(ctx, in.Cluster, in.Attributes,
		func(tx *store.Tx, instance *task.ContainerInstance, attribute types.Attribute) (*types.Attribute, error) {
			name, value := *attribute.Name, aws.ToString(attribute.Value)
			view := render.Attribute(instance, name, value)
			return &view, task.PutAttributes(tx, *instance, map[string]string{name: value})
		})
	return &sdk.PutAttributesOutput{Attributes: set}, err
}

func (a *api) deleteAttributes(ctx context.Context, in *sdk.DeleteAttributesInput) (
	*sdk.DeleteAttributesOutput, error,
) {
	deleted, err := a.changeAttributes(ctx, in.Cluster, in.Attributes,
		func(tx *store.Tx, instance *task.ContainerInstance, attribute types.Attribute) (*types.Attribute, error) {
			view := render.Attribute(instance, *attribute.Name, instance.Attributes[*attribute.Name])
			if !task.DeleteAttribute(tx, *instance, *attribute.Name) {
				return nil, nil
			}
			return &view, nil
		})
	return &sdk.DeleteAttributesOutput{Attributes: deleted}, err
}

// changeAttributes calls change with each attribute of a request, in one transaction, and returns the attributes that
// change returns.
func (a *api) changeAttributes(ctx context.Context, cluster *string, attributes []types.Attribute,
	change func(*store.Tx, *task.ContainerInstance, types.Attribute) (*types.Attribute, error),
) ([]types.Attribute, error) {
	ref, err := identifier.ParseCluster(awsapi.ScopeFrom(ctx), cluster)
	if err == nil {
		err = checkAttributes(attributes)
	}
	if err != nil {
		return nil, err
	}
	return awsapi.Update(ctx, a.db, func(tx *store.Tx) ([]types.Attribute, error) {
		if _, err := task.GetCluster(tx, ref.Scope, ref.Name); err != nil {
			return nil, err
		}
		changed := []types.Attribute{}
		for _, attribute := range attributes {
			instance, err := attributeTarget(tx, ref, attribute)
			if err != nil {
				return nil, err
			}
			view, err := change(tx, instance, attribute)
			if err != nil {
				return nil, err
			}
			if view != nil {
				changed = append(changed, *view)
			}
		}
		return changed, nil
	})
}

// listAttributes lists one item for each attribute of each container instance.
func (a *api) listAttributes(ctx context.Context, in *sdk.ListAttributesInput) (*sdk.ListAttributesOutput, error) {
	page, err := newPageOf[types.Attribute]("ListAttributes", in.MaxResults, in.NextToken, 100, 100)
	if err != nil {
		return nil, err
	}
	snapshot := a.db.Snapshot()
	cluster, err := activeCluster(snapshot, awsapi.ScopeFrom(ctx), in.Cluster)
	switch {
	case err != nil:
		return nil, err
	case in.TargetType != types.TargetTypeContainerInstance:
		return nil, ecserr.Invalid("target type should be one of [container-instance]")
	case in.AttributeValue != nil && aws.ToString(in.AttributeName) == "":
		return nil, ecserr.Invalid("attributeValue needs an attributeName")
	}
	inventory := placement.ReadInventory(snapshot)
	for _, instance := range activeInstances(snapshot, cluster) {
		host, _ := inventory.Host(cluster, instance.ID())
		attributes := host.Attributes()
		for _, name := range slices.Sorted(maps.Keys(attributes)) {
			key, value := instance.ID()+"/"+name, attributes[name]
			matches := (in.AttributeName == nil || *in.AttributeName == name) &&
				(in.AttributeValue == nil || *in.AttributeValue == value)
			if key <= page.after || !matches {
				continue
			}
			if !page.Add(key, render.Attribute(instance, name, value)) {
				return &sdk.ListAttributesOutput{Attributes: page.Items, NextToken: page.next()}, nil
			}
		}
	}
	return &sdk.ListAttributesOutput{Attributes: page.Items, NextToken: page.next()}, nil
}

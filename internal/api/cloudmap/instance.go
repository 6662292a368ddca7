package cloudmap

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/paging"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
)

func (a *api) registerInstance(ctx context.Context, in *sd.RegisterInstanceInput) (*sd.RegisterInstanceOutput, error) {
	var c constraints
	c.identifier(in.ServiceId, "serviceId")
	c.requiredText(in.InstanceId, "instanceId", instanceID)
	c.optionalText(in.CreatorRequestId, "creatorRequestId", resourceID)
	if c.required(in.Attributes != nil, "attributes") {
		c.attributes(in.Attributes, "attributes", instanceAttrKey, instanceAttrText)
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	sc, call := awsapi.ScopeFrom(ctx), registry.NewCall(a.now())
	id, err := a.runOperation(ctx, func(tx *store.Tx) (*registry.Operation, error) {
		return registry.RegisterInstance(tx, sc, registry.InstanceSpec{
			ServiceID: plainID(sc, serviceResource, *in.ServiceId), ID: *in.InstanceId,
			Attributes: in.Attributes, Creator: aws.ToString(in.CreatorRequestId),
		}, call)
	})
	return &sd.RegisterInstanceOutput{OperationId: id}, err
}

func (a *api) deregisterInstance(
	ctx context.Context, in *sd.DeregisterInstanceInput,
) (*sd.DeregisterInstanceOutput, error) {
	if err := instanceMembers(in.ServiceId, in.InstanceId).err(); err != nil {
		return nil, err
	}
	ref, call := instanceRef(awsapi.ScopeFrom(ctx), in.ServiceId, in.InstanceId), registry.NewCall(a.now())
	id, err := a.runOperation(ctx, func(tx *store.Tx) (*registry.Operation, error) {
		return registry.DeregisterInstance(tx, ref, call)
	})
	return &sd.DeregisterInstanceOutput{OperationId: id}, err
}

// instanceMembers checks the members that identify an existing instance.
func instanceMembers(service, instance *string) *constraints {
	c := &constraints{}
	c.identifier(service, "serviceId")
	c.requiredText(instance, "instanceId", resourceID)
	return c
}

// instanceRef returns the reference of the instance that a request names.
func instanceRef(sc arn.Scope, service, instance *string) registry.InstanceRef {
	return registry.InstanceRef{Scope: sc, ServiceID: plainID(sc, serviceResource, *service), ID: *instance}
}

func (a *api) getInstance(ctx context.Context, in *sd.GetInstanceInput) (*sd.GetInstanceOutput, error) {
	if err := instanceMembers(in.ServiceId, in.InstanceId).err(); err != nil {
		return nil, err
	}
	sc := awsapi.ScopeFrom(ctx)
	i, err := registry.GetInstance(a.snapshot(ctx), instanceRef(sc, in.ServiceId, in.InstanceId))
	if err != nil {
		return nil, err
	}
	return &sd.GetInstanceOutput{ResourceOwner: &sc.Account, Instance: &types.Instance{
		Id: &i.ID, Attributes: i.Attributes.Map(), CreatorRequestId: awsapi.StringOrNil(i.Creator),
		CreatedByAccount: &sc.Account,
	}}, nil
}

func (a *api) listInstances(ctx context.Context, in *sd.ListInstancesInput) (*sd.ListInstancesOutput, error) {
	var c constraints
	c.identifier(in.ServiceId, "serviceId")
	max, after := c.page("ListInstances", in.MaxResults, in.NextToken)
	if err := c.err(); err != nil {
		return nil, err
	}
	sc, snapshot := awsapi.ScopeFrom(ctx), a.snapshot(ctx)
	svc, err := registry.GetService(snapshot, sc, plainID(sc, serviceResource, *in.ServiceId))
	if err != nil {
		return nil, err
	}
	page := paging.New[types.InstanceSummary](max)
	registry.ScanInstances(snapshot, registry.InstanceRef{Scope: sc, ServiceID: svc.ID, ID: after},
		func(i *registry.Instance) bool {
			return page.Add(i.ID, types.InstanceSummary{Id: &i.ID, Attributes: i.Attributes.Map(),
				CreatedByAccount: &sc.Account})
		})
	return &sd.ListInstancesOutput{Instances: page.Items, ResourceOwner: &sc.Account,
		NextToken: page.Next("ListInstances")}, nil
}

func (a *api) updateInstanceCustomHealthStatus(
	ctx context.Context, in *sd.UpdateInstanceCustomHealthStatusInput,
) (*sd.UpdateInstanceCustomHealthStatusOutput, error) {
	c := instanceMembers(in.ServiceId, in.InstanceId)
	requiredEnum(c, in.Status, "status", in.Status.Values())
	if err := c.err(); err != nil {
		return nil, err
	}
	ref, now := instanceRef(awsapi.ScopeFrom(ctx), in.ServiceId, in.InstanceId), a.now()
	return awsapi.Update(ctx, a.db, func(tx *store.Tx) (*sd.UpdateInstanceCustomHealthStatusOutput, error) {
		return nil, registry.SetCustomHealth(tx, ref, registry.Health(in.Status), now)
	})
}

func (a *api) getInstancesHealthStatus(
	ctx context.Context, in *sd.GetInstancesHealthStatusInput,
) (*sd.GetInstancesHealthStatusOutput, error) {
	var c constraints
	c.identifier(in.ServiceId, "serviceId")
	if in.Instances != nil && c.required(len(in.Instances) > 0, "instances") {
		for i := range in.Instances {
			c.optionalText(&in.Instances[i], fmt.Sprintf("instances.%d.member", i+1), resourceID)
		}
	}
	max, after := c.page("GetInstancesHealthStatus", in.MaxResults, in.NextToken)
	if err := c.err(); err != nil {
		return nil, err
	}
	sc, snapshot := awsapi.ScopeFrom(ctx), a.snapshot(ctx)
	svc, err := registry.GetService(snapshot, sc, plainID(sc, serviceResource, *in.ServiceId))
	if err != nil {
		return nil, err
	}
	page := paging.New[*registry.Instance](max)
	if in.Instances == nil {
		registry.ScanInstances(snapshot, registry.InstanceRef{Scope: sc, ServiceID: svc.ID, ID: after},
			func(i *registry.Instance) bool { return page.Add(i.ID, i) })
	}
	ids := slices.Compact(slices.Sorted(slices.Values(in.Instances)))
	for _, id := range ids {
		i, err := registry.GetInstance(snapshot, registry.InstanceRef{Scope: sc, ServiceID: svc.ID, ID: id})
		if err != nil {
			return nil, err
		}
		if id > after && !page.Add(id, i) {
			break
		}
	}
	status := make(map[string]types.HealthStatus, len(page.Items))
	for _, i := range page.Items {
		status[i.ID] = types.HealthStatusUnknown
		if svc.HealthConfigured() {
			status[i.ID] = types.HealthStatus(i.Health)
		}
	}
	return &sd.GetInstancesHealthStatusOutput{Status: status, NextToken: page.Next("GetInstancesHealthStatus")}, nil
}

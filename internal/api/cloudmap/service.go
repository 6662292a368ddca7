package cloudmap

//lint:file-ignore SA1019 clients still send, and read, the members that AWS calls deprecated.

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/paging"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
)

func (a *api) createService(ctx context.Context, in *sd.CreateServiceInput) (*sd.CreateServiceOutput, error) {
	sc := awsapi.ScopeFrom(ctx)
	spec, err := serviceSpec(sc, in)
	if err != nil {
		return nil, err
	}
	call := registry.NewCall(a.now())
	svc, err := awsapi.Update(ctx, a.db, func(tx *store.Tx) (*registry.Service, error) {
		return registry.CreateService(tx, sc, spec, call)
	})
	if err != nil {
		return nil, withServiceARN(sc, err)
	}
	return &sd.CreateServiceOutput{Service: serviceShape(a.snapshot(ctx), sc, svc)}, nil
}

// withServiceARN adds the ARN of the existing service to an error of the domain, which has only its id.
func withServiceARN(sc arn.Scope, err error) error {
	var f *fault.Error
	if errors.As(err, &f) && f.Fields["ServiceId"] != "" {
		return f.With("ServiceArn", resourceARN(sc, serviceResource, f.Fields["ServiceId"]))
	}
	return err
}

// serviceSpec checks and converts the input of CreateService.
func serviceSpec(sc arn.Scope, in *sd.CreateServiceInput) (registry.ServiceSpec, error) {
	spec := registry.ServiceSpec{APIOnly: in.Type != "", HasDNS: in.DnsConfig != nil,
		CustomHealth: in.HealthCheckCustomConfig != nil}
	var c constraints
	c.requiredText(in.Name, "name", serviceName)
	c.optionalText(in.CreatorRequestId, "creatorRequestId", resourceID)
	c.optionalText(in.Description, "description", description)
	optionalEnum(&c, in.Type, "type", in.Type.Values())
	c.tags(in.Tags)
	namespace := in.NamespaceId
	if in.NamespaceId != nil {
		c.identifier(in.NamespaceId, "namespaceId")
	}
	if d := in.DnsConfig; d != nil {
		if d.NamespaceId != nil {
			c.identifier(d.NamespaceId, "dnsConfig.namespaceId")
			namespace = d.NamespaceId
		}
		optionalEnum(&c, d.RoutingPolicy, "dnsConfig.routingPolicy", d.RoutingPolicy.Values())
		spec.Policy = string(d.RoutingPolicy)
		spec.Records = c.records(d.DnsRecords, "dnsConfig.dnsRecords")
	}
	spec.HealthCheck = c.healthCheck(in.HealthCheckConfig, "healthCheckConfig")
	if h := in.HealthCheckCustomConfig; h != nil {
		optionalNumber(&c, h.FailureThreshold, "healthCheckCustomConfig.failureThreshold", 1, 10)
	}
	if err := c.err(); err != nil {
		return spec, err
	}
	if namespace == nil {
		return spec, invalid("Service namespace id cannot be null")
	}
	spec.NamespaceID = plainID(sc, namespaceResource, *namespace)
	if in.NamespaceId != nil && plainID(sc, namespaceResource, *in.NamespaceId) != spec.NamespaceID {
		return spec, invalid("NamespaceId is %s, but DnsConfig names the namespace %s", *in.NamespaceId, *namespace)
	}
	var err error
	spec.Tags, err = tagMap(in.Tags)
	spec.Name, spec.Description = *in.Name, aws.ToString(in.Description)
	spec.Creator = aws.ToString(in.CreatorRequestId)
	return spec, err
}

// records checks and converts DnsRecords.
func (c *constraints) records(in []types.DnsRecord, path string) []registry.Record {
	var records []registry.Record
	for i, r := range in {
		path := fmt.Sprintf("%s.%d.member", path, i+1)
		requiredEnum(c, r.Type, path+".type", r.Type.Values())
		if c.required(r.TTL != nil, path+".tTL") {
			optionalNumber(c, r.TTL, path+".tTL", 0, maxTTL)
			records = append(records, registry.Record{Type: registry.RecordType(r.Type), TTL: *r.TTL})
		}
	}
	return records
}

// healthCheck checks and converts a HealthCheckConfig.
func (c *constraints) healthCheck(in *types.HealthCheckConfig, path string) *registry.HealthCheck {
	if in == nil {
		return nil
	}
	requiredEnum(c, in.Type, path+".type", in.Type.Values())
	c.optionalText(in.ResourcePath, path+".resourcePath", resourcePath)
	optionalNumber(c, in.FailureThreshold, path+".failureThreshold", 1, 10)
	h := &registry.HealthCheck{Type: string(in.Type), ResourcePath: aws.ToString(in.ResourcePath)}
	if in.FailureThreshold != nil {
		h.FailureThreshold = *in.FailureThreshold
	}
	return h
}

func (a *api) updateService(ctx context.Context, in *sd.UpdateServiceInput) (*sd.UpdateServiceOutput, error) {
	var c constraints
	var change registry.ServiceChange
	c.identifier(in.Id, "id")
	if s := in.Service; c.required(s != nil, "service") {
		c.optionalText(s.Description, "service.description", description)
		change.Description = s.Description
		if s.DnsConfig != nil && c.required(len(s.DnsConfig.DnsRecords) > 0, "service.dnsConfig.dnsRecords") {
			change.Records = c.records(s.DnsConfig.DnsRecords, "service.dnsConfig.dnsRecords")
		}
		change.HealthCheck = c.healthCheck(s.HealthCheckConfig, "service.healthCheckConfig")
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	sc, call := awsapi.ScopeFrom(ctx), registry.NewCall(a.now())
	id, err := a.runOperation(ctx, func(tx *store.Tx) (*registry.Operation, error) {
		return registry.UpdateService(tx, sc, plainID(sc, serviceResource, *in.Id), change, call)
	})
	return &sd.UpdateServiceOutput{OperationId: id}, err
}

func (a *api) deleteService(ctx context.Context, in *sd.DeleteServiceInput) (*sd.DeleteServiceOutput, error) {
	var c constraints
	c.identifier(in.Id, "id")
	if err := c.err(); err != nil {
		return nil, err
	}
	sc := awsapi.ScopeFrom(ctx)
	return awsapi.Update(ctx, a.db, func(tx *store.Tx) (*sd.DeleteServiceOutput, error) {
		return &sd.DeleteServiceOutput{}, registry.DeleteService(tx, sc, plainID(sc, serviceResource, *in.Id))
	})
}

func (a *api) getService(ctx context.Context, in *sd.GetServiceInput) (*sd.GetServiceOutput, error) {
	var c constraints
	c.identifier(in.Id, "id")
	if err := c.err(); err != nil {
		return nil, err
	}
	sc, snapshot := awsapi.ScopeFrom(ctx), a.snapshot(ctx)
	svc, err := registry.GetService(snapshot, sc, plainID(sc, serviceResource, *in.Id))
	if err != nil {
		return nil, err
	}
	return &sd.GetServiceOutput{Service: serviceShape(snapshot, sc, svc)}, nil
}

// serviceShape returns a service as GetService shows it.
func serviceShape(r store.Reader, sc arn.Scope, svc *registry.Service) *types.Service {
	s := serviceSummary(r, sc, svc)
	if len(svc.Records) > 0 {
		s.DnsConfig.NamespaceId = &svc.NamespaceID // Terraform reads the namespace from here
	}
	return &types.Service{
		Id: s.Id, Arn: s.Arn, Name: s.Name, Type: s.Type, Description: s.Description, CreateDate: s.CreateDate,
		ResourceOwner: s.ResourceOwner, CreatedByAccount: s.CreatedByAccount, InstanceCount: s.InstanceCount,
		DnsConfig: s.DnsConfig, HealthCheckConfig: s.HealthCheckConfig,
		HealthCheckCustomConfig: s.HealthCheckCustomConfig,
		NamespaceId:             &svc.NamespaceID, CreatorRequestId: awsapi.StringOrNil(svc.Creator),
	}
}

// serviceSummary returns a service as ListServices shows it.
func serviceSummary(r store.Reader, sc arn.Scope, svc *registry.Service) types.ServiceSummary {
	arn := resourceARN(sc, serviceResource, svc.ID)
	count := int32(registry.InstanceCount(r, sc, svc.ID))
	s := types.ServiceSummary{
		Id: &svc.ID, Arn: &arn, Name: &svc.Name, Type: types.ServiceTypeHttp,
		Description: awsapi.StringOrNil(svc.Description),
		CreateDate:  &svc.Created, ResourceOwner: &sc.Account, CreatedByAccount: &sc.Account, InstanceCount: &count,
		DnsConfig: &types.DnsConfig{},
	}
	if len(svc.Records) > 0 {
		s.Type = types.ServiceTypeDnsHttp
		s.DnsConfig.RoutingPolicy = types.RoutingPolicy(svc.Policy)
		for _, rec := range svc.Records {
			s.DnsConfig.DnsRecords = append(s.DnsConfig.DnsRecords,
				types.DnsRecord{Type: types.RecordType(rec.Type), TTL: &rec.TTL})
		}
	}
	if h := svc.HealthCheck; h != nil {
		s.HealthCheckConfig = &types.HealthCheckConfig{
			Type: types.HealthCheckType(h.Type), ResourcePath: awsapi.StringOrNil(h.ResourcePath),
			FailureThreshold: &h.FailureThreshold,
		}
	}
	if svc.CustomHealth {
		threshold := int32(1) // always, as at AWS
		s.HealthCheckCustomConfig = &types.HealthCheckCustomConfig{FailureThreshold: &threshold}
	}
	return s
}

var serviceFilters = conditions{"NAMESPACE_ID": byName, "RESOURCE_OWNER": byName}

func (a *api) listServices(ctx context.Context, in *sd.ListServicesInput) (*sd.ListServicesOutput, error) {
	var c constraints
	var fs filters
	for i, f := range in.Filters {
		fs.add(&c, i, serviceFilters, string(f.Name), f.Condition, f.Values)
	}
	max, after := c.page("ListServices", in.MaxResults, in.NextToken)
	if err := c.err(); err != nil {
		return nil, err
	}
	sc, snapshot := awsapi.ScopeFrom(ctx), a.snapshot(ctx)
	namespace := "" // "" means all namespaces
	for _, f := range fs {
		if f.name == "NAMESPACE_ID" {
			for i, v := range f.values {
				f.values[i] = plainID(sc, namespaceResource, v)
			}
			if len(f.values) == 1 {
				namespace = f.values[0]
			}
		}
	}
	page := paging.New[types.ServiceSummary](max)
	registry.ScanServices(snapshot, sc, registry.ServiceRange{NamespaceID: namespace, After: after},
		func(svc *registry.Service) bool {
			matches := fs.match(func(name string) string {
				if name == "NAMESPACE_ID" {
					return svc.NamespaceID
				}
				return "SELF"
			})
			return !matches || page.Add(svc.ID, serviceSummary(snapshot, sc, svc))
		})
	return &sd.ListServicesOutput{Services: page.Items, NextToken: page.Next("ListServices")}, nil
}

// maxAttributeList is the largest number of attributes, or keys of attributes, in one request.
const maxAttributeList = 30

func (a *api) getServiceAttributes(
	ctx context.Context, in *sd.GetServiceAttributesInput,
) (*sd.GetServiceAttributesOutput, error) {
	var c constraints
	c.identifier(in.ServiceId, "serviceId")
	if err := c.err(); err != nil {
		return nil, err
	}
	sc := awsapi.ScopeFrom(ctx)
	svc, err := registry.GetService(a.snapshot(ctx), sc, plainID(sc, serviceResource, *in.ServiceId))
	if err != nil {
		return nil, err
	}
	attributes := svc.Attributes
	if attributes == nil {
		attributes = map[string]string{}
	}
	arn := resourceARN(sc, serviceResource, svc.ID)
	return &sd.GetServiceAttributesOutput{ServiceAttributes: &types.ServiceAttributes{
		ServiceArn: &arn, ResourceOwner: &sc.Account, Attributes: attributes,
	}}, nil
}

func (a *api) updateServiceAttributes(
	ctx context.Context, in *sd.UpdateServiceAttributesInput,
) (*sd.UpdateServiceAttributesOutput, error) {
	var c constraints
	c.identifier(in.ServiceId, "serviceId")
	if c.required(in.Attributes != nil, "attributes") {
		c.entries(len(in.Attributes), "attributes", 1, maxAttributeList)
		c.attributes(in.Attributes, "attributes", attributeKey, attributeValue)
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	sc := awsapi.ScopeFrom(ctx)
	return awsapi.Update(ctx, a.db, func(tx *store.Tx) (*sd.UpdateServiceAttributesOutput, error) {
		return nil, registry.PutServiceAttributes(tx, sc, plainID(sc, serviceResource, *in.ServiceId), in.Attributes)
	})
}

func (a *api) deleteServiceAttributes(
	ctx context.Context, in *sd.DeleteServiceAttributesInput,
) (*sd.DeleteServiceAttributesOutput, error) {
	var c constraints
	c.identifier(in.ServiceId, "serviceId")
	if c.required(in.Attributes != nil, "attributes") {
		c.entries(len(in.Attributes), "attributes", 1, maxAttributeList)
		for i := range in.Attributes {
			c.optionalText(&in.Attributes[i], fmt.Sprintf("attributes.%d.member", i+1), attributeKey)
		}
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	sc := awsapi.ScopeFrom(ctx)
	return awsapi.Update(ctx, a.db, func(tx *store.Tx) (*sd.DeleteServiceAttributesOutput, error) {
		return nil, registry.DeleteServiceAttributes(tx, sc, plainID(sc, serviceResource, *in.ServiceId), in.Attributes)
	})
}

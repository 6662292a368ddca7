package cloudmap

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/paging"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
)

const maxTTL = 1<<31 - 1 // seconds

func (a *api) createHTTPNamespace(
	ctx context.Context, in *sd.CreateHttpNamespaceInput,
) (*sd.CreateHttpNamespaceOutput, error) {
	var c constraints
	c.requiredText(in.Name, "name", namespaceNameHTTP)
	id, err := a.createNamespace(ctx, &c, registry.NamespaceSpec{Kind: registry.HTTP}, in.Name, in.CreatorRequestId,
		in.Description, in.Tags)
	return &sd.CreateHttpNamespaceOutput{OperationId: id}, err
}

func (a *api) createPrivateDNSNamespace(
	ctx context.Context, in *sd.CreatePrivateDnsNamespaceInput,
) (*sd.CreatePrivateDnsNamespaceOutput, error) {
	var c constraints
	c.requiredText(in.Name, "name", namespaceNamePrivate)
	c.requiredText(in.Vpc, "vpc", vpcID)
	spec := registry.NamespaceSpec{Kind: registry.Private, VPC: aws.ToString(in.Vpc),
		UnknownVPC: !a.knowsVPC(aws.ToString(in.Vpc))}
	if p := in.Properties; p != nil {
		if c.required(p.DnsProperties != nil, "properties.dnsProperties") {
			spec.SOATTL = c.soa(p.DnsProperties.SOA)
		}
	}
	id, err := a.createNamespace(ctx, &c, spec, in.Name, in.CreatorRequestId, in.Description, in.Tags)
	return &sd.CreatePrivateDnsNamespaceOutput{OperationId: id}, err
}

func (a *api) createPublicDNSNamespace(
	ctx context.Context, in *sd.CreatePublicDnsNamespaceInput,
) (*sd.CreatePublicDnsNamespaceOutput, error) {
	var c constraints
	c.requiredText(in.Name, "name", namespaceNamePublic)
	spec := registry.NamespaceSpec{Kind: registry.Public}
	if p := in.Properties; p != nil {
		if c.required(p.DnsProperties != nil, "properties.dnsProperties") {
			spec.SOATTL = c.soa(p.DnsProperties.SOA)
		}
	}
	id, err := a.createNamespace(ctx, &c, spec, in.Name, in.CreatorRequestId, in.Description, in.Tags)
	return &sd.CreatePublicDnsNamespaceOutput{OperationId: id}, err
}

// soa checks the SOA of a namespace's properties and returns its TTL.
func (c *constraints) soa(soa *types.SOA) *int64 {
	if !c.required(soa != nil, "properties.dnsProperties.sOA") {
		return nil
	}
	return c.soaTTL(soa.TTL, "properties.dnsProperties.sOA.tTL")
}

func (c *constraints) soaTTL(ttl *int64, path string) *int64 {
	if c.required(ttl != nil, path) {
		optionalNumber(c, ttl, path, 0, maxTTL)
	}
	return ttl
}

// createNamespace does the common part of the three create operations.
func (a *api) createNamespace(
	ctx context.Context, c *constraints, spec registry.NamespaceSpec, name, token, about *string, tags []types.Tag,
) (*string, error) {
	c.optionalText(token, "creatorRequestId", resourceID)
	c.optionalText(about, "description", description)
	c.tags(tags)
	if err := c.err(); err != nil {
		return nil, err
	}
	var err error
	if spec.Tags, err = tagMap(tags); err != nil {
		return nil, err
	}
	spec.Name, spec.Creator, spec.Description = *name, aws.ToString(token), aws.ToString(about)
	sc, call := awsapi.ScopeFrom(ctx), registry.NewCall(a.now())
	return a.runOperation(ctx, func(tx *store.Tx) (*registry.Operation, error) {
		return registry.CreateNamespace(tx, sc, spec, call)
	})
}

func (a *api) updateHTTPNamespace(
	ctx context.Context, in *sd.UpdateHttpNamespaceInput,
) (*sd.UpdateHttpNamespaceOutput, error) {
	var c constraints
	var change registry.NamespaceChange
	if ns := in.Namespace; c.required(ns != nil, "namespace") {
		c.requiredText(ns.Description, "namespace.description", description)
		change.Description = ns.Description
	}
	id, err := a.updateNamespace(ctx, &c, registry.HTTP, in.Id, in.UpdaterRequestId, change)
	return &sd.UpdateHttpNamespaceOutput{OperationId: id}, err
}

func (a *api) updatePrivateDNSNamespace(
	ctx context.Context, in *sd.UpdatePrivateDnsNamespaceInput,
) (*sd.UpdatePrivateDnsNamespaceOutput, error) {
	var c constraints
	var change registry.NamespaceChange
	if ns := in.Namespace; c.required(ns != nil, "namespace") {
		c.optionalText(ns.Description, "namespace.description", description)
		change.Description = ns.Description
		if p := ns.Properties; p != nil && c.required(p.DnsProperties != nil, "namespace.properties.dnsProperties") {
			change.SOATTL = c.soaChange(p.DnsProperties.SOA)
		}
	}
	id, err := a.updateNamespace(ctx, &c, registry.Private, in.Id, in.UpdaterRequestId, change)
	return &sd.UpdatePrivateDnsNamespaceOutput{OperationId: id}, err
}

func (a *api) updatePublicDNSNamespace(
	ctx context.Context, in *sd.UpdatePublicDnsNamespaceInput,
) (*sd.UpdatePublicDnsNamespaceOutput, error) {
	var c constraints
	var change registry.NamespaceChange
	if ns := in.Namespace; c.required(ns != nil, "namespace") {
		c.optionalText(ns.Description, "namespace.description", description)
		change.Description = ns.Description
		if p := ns.Properties; p != nil && c.required(p.DnsProperties != nil, "namespace.properties.dnsProperties") {
			change.SOATTL = c.soaChange(p.DnsProperties.SOA)
		}
	}
	id, err := a.updateNamespace(ctx, &c, registry.Public, in.Id, in.UpdaterRequestId, change)
	return &sd.UpdatePublicDnsNamespaceOutput{OperationId: id}, err
}

// soaChange checks the SOA of a change and returns its TTL.
func (c *constraints) soaChange(soa *types.SOAChange) *int64 {
	if !c.required(soa != nil, "namespace.properties.dnsProperties.sOA") {
		return nil
	}
	return c.soaTTL(soa.TTL, "namespace.properties.dnsProperties.sOA.tTL")
}

// updateNamespace does the common part of the three update operations.
func (a *api) updateNamespace(
	ctx context.Context, c *constraints, kind registry.Kind, id, token *string, change registry.NamespaceChange,
) (*string, error) {
	c.identifier(id, "id")
	c.optionalText(token, "updaterRequestId", resourceID)
	if err := c.err(); err != nil {
		return nil, err
	}
	sc, call := awsapi.ScopeFrom(ctx), registry.NewCall(a.now())
	return a.runOperation(ctx, func(tx *store.Tx) (*registry.Operation, error) {
		return registry.UpdateNamespace(tx, sc, plainID(sc, namespaceResource, *id), kind, change, call)
	})
}

func (a *api) deleteNamespace(ctx context.Context, in *sd.DeleteNamespaceInput) (*sd.DeleteNamespaceOutput, error) {
	var c constraints
	c.identifier(in.Id, "id")
	if err := c.err(); err != nil {
		return nil, err
	}
	sc, call := awsapi.ScopeFrom(ctx), registry.NewCall(a.now())
	id, err := a.runOperation(ctx, func(tx *store.Tx) (*registry.Operation, error) {
		return registry.DeleteNamespace(tx, sc, plainID(sc, namespaceResource, *in.Id), call)
	})
	return &sd.DeleteNamespaceOutput{OperationId: id}, err
}

func (a *api) getNamespace(ctx context.Context, in *sd.GetNamespaceInput) (*sd.GetNamespaceOutput, error) {
	var c constraints
	c.identifier(in.Id, "id")
	if err := c.err(); err != nil {
		return nil, err
	}
	sc, snapshot := awsapi.ScopeFrom(ctx), a.snapshot(ctx)
	ns, err := registry.GetNamespace(snapshot, sc, plainID(sc, namespaceResource, *in.Id))
	if err != nil {
		return nil, err
	}
	s := namespaceSummary(snapshot, sc, ns)
	return &sd.GetNamespaceOutput{Namespace: &types.Namespace{
		Id: s.Id, Arn: s.Arn, Name: s.Name, Type: s.Type, Description: s.Description, CreateDate: s.CreateDate,
		ResourceOwner: s.ResourceOwner, ServiceCount: s.ServiceCount, Properties: s.Properties,
		CreatorRequestId: awsapi.StringOrNil(ns.Creator),
	}}, nil
}

// namespaceSummary returns a namespace as ListNamespaces shows it.
func namespaceSummary(r store.Reader, sc arn.Scope, ns *registry.Namespace) types.NamespaceSummary {
	arn := resourceARN(sc, namespaceResource, ns.ID)
	services := int32(registry.ServiceCount(r, sc, ns.ID))
	dns := &types.DnsProperties{HostedZoneId: awsapi.StringOrNil(ns.ZoneID)}
	if ns.SOATTL != nil {
		dns.SOA = &types.SOA{TTL: ns.SOATTL}
	}
	return types.NamespaceSummary{
		Id: &ns.ID, Arn: &arn, Name: &ns.Name, Type: types.NamespaceType(ns.Kind),
		Description: awsapi.StringOrNil(ns.Description),
		CreateDate:  &ns.Created, ResourceOwner: &sc.Account, ServiceCount: &services,
		Properties: &types.NamespaceProperties{DnsProperties: dns,
			HttpProperties: &types.HttpProperties{HttpName: &ns.HTTPName}},
	}
}

var namespaceFilters = conditions{
	"TYPE": byText, "NAME": byText, "HTTP_NAME": byText, "RESOURCE_OWNER": byName,
}

func (a *api) listNamespaces(ctx context.Context, in *sd.ListNamespacesInput) (*sd.ListNamespacesOutput, error) {
	var c constraints
	var fs filters
	for i, f := range in.Filters {
		fs.add(&c, i, namespaceFilters, string(f.Name), f.Condition, f.Values)
	}
	max, after := c.page("ListNamespaces", in.MaxResults, in.NextToken)
	if err := c.err(); err != nil {
		return nil, err
	}
	sc, snapshot := awsapi.ScopeFrom(ctx), a.snapshot(ctx)
	page := paging.New[types.NamespaceSummary](max)
	registry.ScanNamespaces(snapshot, sc, after, func(ns *registry.Namespace) bool {
		matches := fs.match(func(name string) string {
			switch name {
			case "TYPE":
				return string(ns.Kind)
			case "NAME":
				return ns.Name
			case "HTTP_NAME":
				return ns.HTTPName
			default: // RESOURCE_OWNER: an account sees only its own resources
				return "SELF"
			}
		})
		return !matches || page.Add(ns.ID, namespaceSummary(snapshot, sc, ns))
	})
	return &sd.ListNamespacesOutput{Namespaces: page.Items, NextToken: page.Next("ListNamespaces")}, nil
}

// Package cloudmap serves the API of AWS Cloud Map (servicediscovery) over packages registry and directory.
//
// A handler checks the constraints of its input (constraints.go), makes one call of the domain, and converts the
// result. The rules of the domain are in registry. Reads use a snapshot of the store. The Discover operations
// (discover.go) read the directory, as DNS does. One table translates the domain's errors to the SDK's types
// (errors.go).
//
//	namespace.go, service.go, instance.go, operation.go, tags.go   the operations of each resource
//	filter.go                                                      the filters of the List operations
//	watch.go                                                       Discover calls that wait for a change
//
// An asynchronous operation has ended when its call returns, so the first GetOperation returns its final status.
// docs/compat/cloud-map.md lists the differences from AWS.
package cloudmap

import (
	"context"
	"time"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
)

// api is the state that the handlers share.
type api struct {
	db       *store.Store
	dir      *directory.Directory
	knowsVPC func(id string) bool
	now      func() time.Time
}

// New returns the API. dir must follow db (package publish). knowsVPC reports whether a VPC exists; if it is nil, every
// id is accepted. now returns the times of rows.
func New(
	db *store.Store, dir *directory.Directory, knowsVPC func(id string) bool, now func() time.Time,
) *awsapi.Service {
	if knowsVPC == nil {
		knowsVPC = func(string) bool { return true }
	}
	a := &api{db, dir, knowsVPC, now}
	s := &awsapi.Service{
		TargetPrefix: "Route53AutoNaming_v20170314",
		SigningName:  "servicediscovery",
		Naming:       awsapi.UpperCamel,
		ErrorOf:      wireErrors.Translate,
	}
	awsapi.Handle(s, a.createHTTPNamespace)
	awsapi.Handle(s, a.createPrivateDNSNamespace)
	awsapi.Handle(s, a.createPublicDNSNamespace)
	awsapi.Handle(s, a.updateHTTPNamespace)
	awsapi.Handle(s, a.updatePrivateDNSNamespace)
	awsapi.Handle(s, a.updatePublicDNSNamespace)
	awsapi.Handle(s, a.deleteNamespace)
	awsapi.Handle(s, a.getNamespace)
	awsapi.Handle(s, a.listNamespaces)

	awsapi.Handle(s, a.createService)
	awsapi.Handle(s, a.updateService)
	awsapi.Handle(s, a.deleteService)
	awsapi.Handle(s, a.getService)
	awsapi.Handle(s, a.listServices)
	awsapi.Handle(s, a.getServiceAttributes)
	awsapi.Handle(s, a.updateServiceAttributes)
	awsapi.Handle(s, a.deleteServiceAttributes)

	awsapi.Handle(s, a.registerInstance)
	awsapi.Handle(s, a.deregisterInstance)
	awsapi.Handle(s, a.getInstance)
	awsapi.Handle(s, a.listInstances)
	awsapi.Handle(s, a.getInstancesHealthStatus)
	awsapi.Handle(s, a.updateInstanceCustomHealthStatus)

	awsapi.Handle(s, a.discoverInstances)
	awsapi.Handle(s, a.discoverInstancesRevision)

	awsapi.Handle(s, a.getOperation)
	awsapi.Handle(s, a.listOperations)

	awsapi.Handle(s, a.tagResource)
	awsapi.Handle(s, a.untagResource)
	awsapi.Handle(s, a.listTagsForResource)
	return s
}

// snapshot returns a snapshot of the store. It waits until the directory has the same revision, so that a caller never
// reads a row that DNS and DiscoverInstances do not show yet.
func (a *api) snapshot(ctx context.Context) *store.Snapshot {
	snapshot := a.db.Snapshot()
	_ = a.db.Wait(ctx, snapshot.Rev()) // fails only if the caller cancels
	return snapshot
}

// runOperation runs a transaction that creates an operation, and returns the operation's id.
func (a *api) runOperation(ctx context.Context, fn func(*store.Tx) (*registry.Operation, error)) (*string, error) {
	op, err := awsapi.Update(ctx, a.db, fn)
	if err != nil {
		return nil, err
	}
	return &op.ID, nil
}

// The resource types in ARNs of this API.
const (
	namespaceResource = "namespace"
	serviceResource   = "service"
)

func resourceARN(sc arn.Scope, kind, id string) string {
	return arn.New("servicediscovery", sc.Region, sc.Account, kind+"/"+id).String()
}

// plainID returns the id of a resource that a request names by id or ARN. It returns the ARN of another resource type,
// region or account unchanged. No id is an ARN, so the resource is then not found.
func plainID(sc arn.Scope, kind, idOrARN string) string {
	if name, err := arn.Parse(idOrARN); err == nil {
		if _, id := name.Split(); resourceARN(sc, kind, id) == idOrARN {
			return id
		}
	}
	return idOrARN
}

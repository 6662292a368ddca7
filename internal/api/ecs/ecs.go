// Package ecs is the API of Amazon ECS (version 2014-11-13) over the domain in package task.
//
// An operation is decode, one transaction or one snapshot, encode. Of each resource the operations are in
// the file that has its plural as a name, its rules in …_rules.go, and its shape on the wire in …_view.go:
//
//	clusters.go     definitions.go        services.go         tasks.go       tags.go  settings.go
//	                definition_rules.go   service_rules.go
//	                definition_fargate.go service_update.go   run.go
//	cluster_view.go definition_view.go    service_view.go     task_view.go
//	capacity.go                           strategy.go         overrides.go   protection.go
//
// identifiers.go reads names and ARNs, errors.go has the table from the domain's failures to ECS's, and
// refused.go the operations that exist to say no.
//
// It promises: a definition or service is read back with every member that was sent, and with AWS's
// defaults where none was (Terraform compares both); a request that breaks a rule changes nothing; a service
// that is acknowledged names a definition and a registry that existed in the same transaction.
//
// ecs starts and stops nothing: it writes what is wanted into rows, and the loops see to it. Where it differs
// from AWS, docs/compat/ecs.md says so. The facts come from the Amazon ECS API Reference and Developer Guide.
package ecs

import (
	"fmt"
	"time"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/store"
)

// api answers the operations of ECS.
type api struct {
	db   *store.Store
	zone string
	now  func() time.Time
}

// New makes the API. zone is the availability zone that this server's nodes are in, as the letter that
// follows the region's name.
func New(db *store.Store, zone string, now func() time.Time) *awsapi.Service {
	a := &api{db: db, zone: zone, now: now}
	s := &awsapi.Service{
		TargetPrefix: "AmazonEC2ContainerServiceV20141113",
		SigningName:  "ecs",
		Naming:       wire,
		ErrorOf:      wireErrors.Translate,
	}
	awsapi.Handle(s, a.createCluster)
	awsapi.Handle(s, a.describeClusters)
	awsapi.Handle(s, a.listClusters)
	awsapi.Handle(s, a.updateCluster)
	awsapi.Handle(s, a.updateClusterSettings)
	awsapi.Handle(s, a.putClusterCapacityProviders)
	awsapi.Handle(s, a.deleteCluster)
	awsapi.Handle(s, a.createCapacityProvider)
	awsapi.Handle(s, a.describeCapacityProviders)
	awsapi.Handle(s, a.updateCapacityProvider)
	awsapi.Handle(s, a.deleteCapacityProvider)

	awsapi.Handle(s, a.registerTaskDefinition)
	awsapi.Handle(s, a.describeTaskDefinition)
	awsapi.Handle(s, a.deregisterTaskDefinition)
	awsapi.Handle(s, a.deleteTaskDefinitions)
	awsapi.Handle(s, a.listTaskDefinitions)
	awsapi.Handle(s, a.listTaskDefinitionFamilies)

	awsapi.Handle(s, a.createService)
	awsapi.Handle(s, a.updateService)
	awsapi.Handle(s, a.describeServices)
	awsapi.Handle(s, a.listServices)
	awsapi.Handle(s, a.listServicesByNamespace)
	awsapi.Handle(s, a.deleteService)

	awsapi.Handle(s, a.listServiceDeployments)
	awsapi.Handle(s, a.describeServiceDeployments)
	awsapi.Handle(s, a.describeServiceRevisions)
	awsapi.Handle(s, a.stopServiceDeployment)

	awsapi.Handle(s, a.runTask)
	awsapi.Handle(s, a.startTask)
	awsapi.Handle(s, a.stopTask)
	awsapi.Handle(s, a.listTasks)
	awsapi.Handle(s, a.describeTasks)
	awsapi.Handle(s, a.executeCommand)
	awsapi.Handle(s, a.getTaskProtection)
	awsapi.Handle(s, a.updateTaskProtection)

	awsapi.Handle(s, a.listContainerInstances)
	awsapi.Handle(s, a.describeContainerInstances)
	awsapi.Handle(s, a.updateContainerInstancesState)
	awsapi.Handle(s, a.deregisterContainerInstance)
	awsapi.Handle(s, a.putAttributes)
	awsapi.Handle(s, a.deleteAttributes)
	awsapi.Handle(s, a.listAttributes)

	awsapi.Handle(s, a.tagResource)
	awsapi.Handle(s, a.untagResource)
	awsapi.Handle(s, a.listTagsForResource)
	awsapi.Handle(s, a.listAccountSettings)
	awsapi.Handle(s, a.putAccountSetting)
	awsapi.Handle(s, a.putAccountSettingDefault)
	awsapi.Handle(s, a.deleteAccountSetting)
	a.refuseTaskSets(s)
	refuse(s)
	return s
}

// wire is how ECS spells its members. Requests that are kept are kept in it.
const wire = awsapi.LowerCamel

// kept decodes a request that was kept in a row.
func kept[I any](noun string, sent []byte) (*I, error) {
	in := new(I)
	if len(sent) == 0 {
		return in, nil
	}
	if err := wire.Decode(sent, in); err != nil {
		return nil, fmt.Errorf("decode the request that %s was made with: %w", noun, err)
	}
	return in, nil
}

// Package ecs is the API of Amazon ECS (version 2014-11-13) over the domain in package task.
//
// A handler decodes a request, runs one transaction or reads one snapshot, and encodes the answer. [New] registers all
// handlers; those of a resource are in the file with its name:
//
//	clusters.go             task_definitions.go  services.go             tags.go
//	capacity_providers.go   tasks.go             service_deployments.go  account_settings.go
//	container_instances.go  run_task.go          attributes.go           unsupported.go
//	                        task_protection.go
//
// pages.go divides the results of the List operations into pages.
//
// The rules and the shapes of the answers are in the packages below this one:
//
//	identifier   parses short names, ids and ARNs
//	taskdef      checks task definitions, converts them to rows, and renders them
//	servicespec  checks services, fills in defaults, and applies updates
//	render       converts rows to the shapes that ECS returns
//	ecserr       constructs ECS's errors, and translates those of the domain
//	codec        encodes the requests that rows keep
//	overlay      replaces members of a stored request by those of an update
//
// The API promises: a task definition or service is read back with every member that was sent, and with AWS's defaults
// for the others (Terraform compares both); a request that breaks a rule changes nothing; the task definition and the
// registry of an acknowledged service existed in the transaction that wrote it.
//
// ecs starts and stops no tasks: it writes the desired state to rows, and the control loops act on it.
// docs/compat/ecs.md lists the differences from AWS. The rules come from the Amazon ECS API Reference and Developer
// Guide.
package ecs

import (
	"time"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/ecs/codec"
	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/store"
)

// api holds the dependencies of the handlers, which are its methods.
type api struct {
	db   *store.Store
	zone string
	now  func() time.Time
}

// New returns the API. zone is the letter of the availability zone that this server's nodes are in: it follows the
// region's name.
func New(db *store.Store, zone string, now func() time.Time) *awsapi.Service {
	a := &api{db: db, zone: zone, now: now}
	s := &awsapi.Service{
		TargetPrefix: "AmazonEC2ContainerServiceV20141113",
		SigningName:  "ecs",
		Naming:       codec.Naming,
		ErrorOf:      ecserr.Table.Translate,
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
	a.registerTaskSets(s)
	registerUnsupported(s)
	return s
}

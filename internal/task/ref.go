package task

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/google/uuid"

	"github.com/bakingclouds/rollcall/internal/arn"
)

// ID is the id of a task: 32 hex digits.
type ID string

// ClusterRef names a cluster.
type ClusterRef struct {
	arn.Scope
	Name string
}

// ServiceRef names a service of a cluster.
type ServiceRef struct {
	arn.Scope
	Cluster string
	Name    string
}

// Ref names a task of a cluster.
type Ref struct {
	arn.Scope
	Cluster string
	ID      ID
}

// Key returns the key of the cluster's row.
func (c ClusterRef) Key() string { return c.Scope.Key(c.Name) }

// Key returns the key of the service's row, by which loops mark the service.
func (s ServiceRef) Key() string { return s.Scope.Key(s.Cluster, s.Name) }

// Key returns the key of the task's row, by which loops mark the task.
func (t Ref) Key() string { return t.Scope.Key(t.Cluster, string(t.ID)) }

// ClusterRef returns the reference of the service's cluster.
func (s ServiceRef) ClusterRef() ClusterRef { return ClusterRef{s.Scope, s.Cluster} }

// ARN returns the ARN of the cluster.
func (c ClusterRef) ARN() string { return ecsARN(c.Scope, "cluster/"+c.Name) }

// ARN returns the ARN of the service.
func (s ServiceRef) ARN() string { return ecsARN(s.Scope, "service/"+s.Cluster+"/"+s.Name) }

// ARN returns the ARN of the task.
func (t Ref) ARN() string { return ecsARN(t.Scope, "task/"+t.Cluster+"/"+string(t.ID)) }

func ecsARN(sc arn.Scope, resource string) string {
	return arn.New("ecs", sc.Region, sc.Account, resource).String()
}

// members returns the prefix of the keys of the cluster's services, tasks and container instances.
func (c ClusterRef) members() string { return c.Key() + "/" }

// members returns the prefix of the keys of the service's events, service deployments and service revisions.
func (s ServiceRef) members() string { return s.Key() + "/" }

func instanceKey(c ClusterRef, node string) string { return c.members() + node }

func serviceDeploymentKey(s ServiceRef, id string) string { return s.members() + id }

func serviceRevisionKey(s ServiceRef, number string) string { return s.members() + number }

func eventKey(s ServiceRef, e *Event) string {
	return fmt.Sprintf("%s%020d-%s", s.members(), e.Created.UnixNano(), e.ID)
}

func familyKey(sc arn.Scope, family string) string { return sc.Key(family) }

// definitionKey orders the revisions of a family by their numbers.
func definitionKey(sc arn.Scope, family string, revision int) string {
	return familyKey(sc, family) + fmt.Sprintf("/%09d", revision)
}

func providerKey(sc arn.Scope, name string) string { return sc.Key(name) }

func clearanceKey(t Ref, node string) string { return t.Key() + "/" + node }

// ContainerID returns the last part of the ARN of a task's container. It depends on the task's id and the container's
// name alone, so it is known before the container exists and survives a crash.
func ContainerID(task ID, name string) string {
	return uuid.NewSHA1(uuid.Nil, []byte(string(task)+"/"+name)).String()
}

// TokenID returns the id of the nth task that a RunTask request with a client token starts. Each repeat of the request
// gets the same ids, so of two concurrent requests only one can start the tasks.
func TokenID(cluster ClusterRef, token string, n int) ID {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%s\x00%d", cluster.Account, cluster.Region, cluster.Name,
		token, n))
	return ID(hex.EncodeToString(sum[:16]))
}

// Package identifier parses what clients name resources by: short names, ids and ARNs.
//
// [Parse], [ParseIn] and [ParseResource] parse the identifier of any resource. [ParseCluster], [ParseDefinition] and
// [ParsePart] parse those of clusters, task definitions, and parts of services.
//
// The package knows only the text of an identifier, not whether the resource exists. An ARN of another account or
// region parses to an empty name, and no resource has that name, so the caller reports the resource as not found.
package identifier

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/task"
)

// The kinds of resources, as their ARNs name them.
const (
	Cluster           = "cluster"
	Service           = "service"
	Task              = "task"
	TaskDefinition    = "task-definition"
	ContainerInstance = "container-instance"
	CapacityProvider  = "capacity-provider"
	ServiceDeployment = "service-deployment"
	ServiceRevision   = "service-revision"
)

var (
	namePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)
	// ECS API Reference, Attribute.
	attributeNamePattern = regexp.MustCompile(`^[A-Za-z0-9_./\\-]{1,128}$`)
)

// ValidName reports whether s can be the name of a cluster, service, family, container or volume.
func ValidName(s string) bool { return namePattern.MatchString(s) }

// ValidAttributeName reports whether s can be the name of an attribute of a container instance.
func ValidAttributeName(s string) bool { return attributeNamePattern.MatchString(s) }

// ID is a parsed identifier.
type ID struct {
	Scope   arn.Scope
	ARN     string // as the client sent it; empty for a short name or id
	Cluster string // the cluster of the resource, if it belongs to one
	Name    string // the name or id; empty for an ARN of another account or region
}

// ClusterRef returns the reference of the cluster that the resource belongs to.
func (id ID) ClusterRef() task.ClusterRef { return task.ClusterRef{Scope: id.Scope, Name: id.Cluster} }

// ServiceRef returns the reference of a service.
func (id ID) ServiceRef() task.ServiceRef {
	return task.ServiceRef{Scope: id.Scope, Cluster: id.Cluster, Name: id.Name}
}

// TaskRef returns the reference of a task.
func (id ID) TaskRef() task.Ref {
	return task.Ref{Scope: id.Scope, Cluster: id.Cluster, ID: task.ID(id.Name)}
}

// Parse parses the identifier s of a resource of this kind.
func Parse(scope arn.Scope, kind, s string) (ID, error) {
	if !arn.Is(s) {
		return ID{Scope: scope, Name: s}, nil
	}
	a, err := arn.Parse(s)
	if err != nil || a.Service != "ecs" {
		return ID{}, ecserr.Invalid("Invalid identifier: %s is not an ARN of Amazon ECS", s)
	}
	tail, ok := strings.CutPrefix(a.Resource, kind+"/")
	if !ok {
		return ID{}, ecserr.Invalid("Invalid identifier: Unexpected resource type in %s; expected %s", s, kind)
	}
	id := ID{Scope: scope, ARN: s, Name: tail}
	if kind == Service || kind == Task || kind == ContainerInstance {
		if cluster, name, ok := strings.Cut(tail, "/"); ok {
			id.Cluster, id.Name = cluster, name
		}
	}
	if a.Account != scope.Account || a.Region != scope.Region {
		id.Name = ""
	}
	return id, nil
}

// ParseIn parses the identifier s of a resource of this kind that must belong to cluster.
func ParseIn(cluster task.ClusterRef, kind, s string) (ID, error) {
	id, err := Parse(cluster.Scope, kind, s)
	if err != nil {
		return ID{}, err
	}
	if id.Cluster != "" && id.Cluster != cluster.Name {
		return ID{}, ecserr.Invalid("Invalid identifier: Identifier is for cluster %s. Your cluster is %s",
			id.Cluster, cluster.Name)
	}
	id.Cluster = cluster.Name
	if (kind == Task || kind == ContainerInstance) && len(id.Name) == 36 {
		id.Name = strings.ReplaceAll(id.Name, "-", "") // the client sent the id in the form of a UUID
	}
	return id, nil
}

// ParseResource parses the cluster and the resource of this kind in it that a request names.
func ParseResource(scope arn.Scope, cluster *string, kind string, s *string) (ID, error) {
	ref, err := ParseCluster(scope, cluster)
	if err != nil {
		return ID{}, err
	}
	return ParseIn(ref, kind, aws.ToString(s))
}

// ParseCluster returns the cluster that a request works in: the default cluster if the request names none.
func ParseCluster(scope arn.Scope, s *string) (task.ClusterRef, error) {
	if aws.ToString(s) == "" {
		return task.ClusterRef{Scope: scope, Name: task.DefaultCluster}, nil
	}
	id, err := Parse(scope, Cluster, *s)
	return task.ClusterRef{Scope: scope, Name: id.Name}, err
}

// LastSegment returns the part of s after its last slash: the name in an ARN, or s itself if it is a short name.
func LastSegment(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }

// Definition names a revision of a task definition. Revision 0 is the latest active revision of the family.
type Definition struct {
	Family   string
	Revision int
}

// ParseDefinition parses family, family:revision, or an ARN with or without a revision.
func ParseDefinition(scope arn.Scope, s string) (Definition, error) {
	id, err := Parse(scope, TaskDefinition, s)
	if err != nil {
		return Definition{}, err
	}
	family, number, ok := strings.Cut(id.Name, ":")
	if !ok {
		return Definition{Family: family}, nil
	}
	revision, err := strconv.Atoi(number)
	if err != nil || revision < 1 {
		return Definition{}, ecserr.Invalid("Invalid revision number. Number: %s", number)
	}
	return Definition{family, revision}, nil
}

// DefinitionOf returns the name of a revision.
func DefinitionOf(row *task.Definition) Definition { return Definition{row.Family, row.Revision} }

// String returns family:revision.
func (d Definition) String() string { return d.Family + ":" + strconv.Itoa(d.Revision) }

// CompareDefinitions orders definitions by their families as text, then by their revisions as numbers.
func CompareDefinitions(a, b Definition) int {
	return cmp.Or(strings.Compare(a.Family, b.Family), cmp.Compare(a.Revision, b.Revision))
}

// Part names a part of a service: one of its deployments or revisions. It is the zero value for an ARN of another
// account or region.
type Part struct {
	Service task.ServiceRef
	Name    string
}

// ParsePart parses the ARN of a part of a service, whose resource is kind/cluster/service/name.
func ParsePart(scope arn.Scope, kind, s string) (Part, error) {
	id, err := Parse(scope, kind, s)
	if err != nil {
		return Part{}, err
	}
	if id.ARN == "" {
		return Part{}, ecserr.Invalid("Invalid identifier: %q is not an ARN", s)
	}
	if id.Name == "" {
		return Part{}, nil
	}
	segments := strings.Split(id.Name, "/")
	if len(segments) != 3 {
		return Part{}, ecserr.Invalid("Invalid identifier: %s must name a cluster, a service and a %s",
			s, strings.ReplaceAll(kind, "-", " "))
	}
	service := task.ServiceRef{Scope: scope, Cluster: segments[0], Name: segments[1]}
	return Part{Service: service, Name: segments[2]}, nil
}

// RootARN returns the ARN of the account's root, which every caller acts as.
func RootARN(scope arn.Scope) string {
	return "arn:" + arn.Partition(scope.Region) + ":iam::" + scope.Account + ":root"
}

// ServiceRoleARN returns the ARN of the service-linked role that AWS shows for services without load balancers.
func ServiceRoleARN(scope arn.Scope) string {
	partition, domain := arn.Partition(scope.Region), "amazonaws.com"
	if partition == "aws-cn" {
		domain = "amazonaws.com.cn"
	}
	return "arn:" + partition + ":iam::" + scope.Account + ":role/aws-service-role/ecs." + domain +
		"/AWSServiceRoleForECS"
}

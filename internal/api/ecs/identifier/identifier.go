// Package identifier parses what clients name resources by: short names, ids and ARNs.
//
// Parse and ParseIn cover all resources; ClusterName, ParseDefinition and ParsePart cover those whose names have a
// structure. The package knows only the text of an identifier, not whether the resource exists: an ARN of another
// account or region parses to an empty name, and no resource has that name.
package identifier

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/bakingclouds/rollcall/internal/api/ecs/ecserr"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/task"
)

// namePattern is that of clusters, services, families, containers and volumes.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)

// ValidName reports whether s can be the name of a cluster, service, family, container or volume.
func ValidName(s string) bool { return namePattern.MatchString(s) }

// attributeName is what names of attributes consist of (ECS API Reference, Attribute).
var attributeName = regexp.MustCompile(`^[A-Za-z0-9_./\\-]{1,128}$`)

// ValidAttributeName reports whether s can be the name of an attribute.
func ValidAttributeName(s string) bool { return attributeName.MatchString(s) }

// ID is what a client names a resource by: its name or id, or an ARN.
type ID struct {
	ARN     string // as given; "" for a name
	Cluster string // that an ARN of the long format names
	// name is empty for an ARN of another account or region. Nothing has that name, so nothing is found.
	Name string
}

// Parse reads an identifier of a resource of this kind ("cluster", "service", "task",
// "task-definition", "container-instance").
func Parse(sc arn.Scope, kind, s string) (ID, error) {
	if !arn.Is(s) {
		return ID{Name: s}, nil
	}
	a, err := arn.Parse(s)
	if err != nil || a.Service != "ecs" {
		return ID{}, ecserr.Invalid("Invalid identifier: %s is no ARN of Amazon ECS", s)
	}
	tail, ok := strings.CutPrefix(a.Resource, kind+"/")
	if !ok {
		return ID{}, ecserr.Invalid("Invalid identifier: Unexpected resource type in %s; expected %s", s, kind)
	}
	id := ID{ARN: s, Name: tail}
	if kind == "service" || kind == "task" || kind == "container-instance" {
		if cluster, name, ok := strings.Cut(tail, "/"); ok {
			id.Cluster, id.Name = cluster, name
		}
	}
	if a.Account != sc.Account || a.Region != sc.Region {
		id.Name = ""
	}
	return id, nil
}

// ClusterName is the name of the cluster that a call works in.
func ClusterName(sc arn.Scope, s *string) (string, error) {
	if aws.ToString(s) == "" {
		return task.DefaultCluster, nil
	}
	id, err := Parse(sc, "cluster", *s)
	return id.Name, err
}

// ParseIn reads an identifier of a resource that must be in a cluster.
func ParseIn(sc arn.Scope, cluster, kind, s string) (ID, error) {
	id, err := Parse(sc, kind, s)
	if err != nil {
		return id, err
	}
	if id.Cluster != "" && id.Cluster != cluster {
		return id, ecserr.Invalid("Invalid identifier: Identifier is for cluster %s. Your cluster is %s", id.Cluster, cluster)
	}
	if (kind == "task" || kind == "container-instance") && len(id.Name) == 36 {
		id.Name = strings.ReplaceAll(id.Name, "-", "") // the form of a UUID
	}
	return id, nil
}

// Definition names a revision of a family; revision 0 is the latest active one.
type Definition struct {
	Family   string
	Revision int
}

// ParseDefinition reads family, family:revision or an ARN with or without the revision.
func ParseDefinition(sc arn.Scope, s string) (Definition, error) {
	id, err := Parse(sc, "task-definition", s)
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

// String is family:revision.
func (d Definition) String() string { return d.Family + ":" + strconv.Itoa(d.Revision) }

// RootARN is who made things: every caller is the account.
func RootARN(sc arn.Scope) string {
	return "arn:" + arn.Partition(sc.Region) + ":iam::" + sc.Account + ":root"
}

// CompareDefinitions orders by family as text and revision as number.
func CompareDefinitions(a, b Definition) int {
	if c := strings.Compare(a.Family, b.Family); c != 0 {
		return c
	}
	return a.Revision - b.Revision
}

// Part is what the ARN of a part of a service says: cluster/service/name. Of another account or region it is
// empty: nothing is found.
type Part struct{ Cluster, Service, Name string }

func ParsePart(sc arn.Scope, kind, s string) (Part, error) {
	id, err := Parse(sc, kind, s)
	if err != nil {
		return Part{}, err
	}
	if id.ARN == "" {
		return Part{}, ecserr.Invalid("Invalid identifier: %q is no ARN", s)
	}
	if id.Name == "" {
		return Part{}, nil
	}
	words := strings.Split(id.Name, "/")
	if len(words) != 3 {
		return Part{}, ecserr.Invalid("Invalid identifier: %s names no cluster and service", s)
	}
	return Part{words[0], words[1], words[2]}, nil
}

// ServiceRoleARN is the service-linked role that AWS shows for services without load balancers.
func ServiceRoleARN(sc arn.Scope) string {
	partition, suffix := arn.Partition(sc.Region), "amazonaws.com"
	if partition == "aws-cn" {
		suffix = "amazonaws.com.cn"
	}
	return "arn:" + partition + ":iam::" + sc.Account + ":role/aws-service-role/ecs." + suffix + "/AWSServiceRoleForECS"
}

// LastSegment is what follows the last "/".
func LastSegment(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }

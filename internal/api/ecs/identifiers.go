package ecs

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// namePattern is that of clusters, services, families, containers and volumes.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)

// identifier is what a client names a resource by: its name or id, or an ARN.
type identifier struct {
	arn     string // as given; "" for a name
	cluster string // that an ARN of the long format names
	// name is empty for an ARN of another account or region. Nothing has that name, so nothing is found.
	name string
}

// identify reads an identifier of a resource of this kind ("cluster", "service", "task",
// "task-definition", "container-instance").
func identify(sc arn.Scope, kind, s string) (identifier, error) {
	if !arn.Is(s) {
		return identifier{name: s}, nil
	}
	a, err := arn.Parse(s)
	if err != nil || a.Service != "ecs" {
		return identifier{}, invalid("Invalid identifier: %s is no ARN of Amazon ECS", s)
	}
	tail, ok := strings.CutPrefix(a.Resource, kind+"/")
	if !ok {
		return identifier{}, invalid("Invalid identifier: Unexpected resource type in %s; expected %s", s, kind)
	}
	id := identifier{arn: s, name: tail}
	if kind == "service" || kind == "task" || kind == "container-instance" {
		if cluster, name, ok := strings.Cut(tail, "/"); ok {
			id.cluster, id.name = cluster, name
		}
	}
	if a.Account != sc.Account || a.Region != sc.Region {
		id.name = ""
	}
	return id, nil
}

// clusterName is the name of the cluster that a call works in.
func clusterName(sc arn.Scope, s *string) (string, error) {
	if aws.ToString(s) == "" {
		return task.DefaultCluster, nil
	}
	id, err := identify(sc, "cluster", *s)
	return id.name, err
}

// activeCluster is the cluster that a reading call works in.
func activeCluster(r store.Reader, sc arn.Scope, s *string) (string, error) {
	name, err := clusterName(sc, s)
	if err != nil {
		return "", err
	}
	_, err = task.GetCluster(r, sc, name)
	return name, err
}

// identifyIn reads an identifier of a resource that must be in a cluster.
func identifyIn(sc arn.Scope, cluster, kind, s string) (identifier, error) {
	id, err := identify(sc, kind, s)
	if err != nil {
		return id, err
	}
	if id.cluster != "" && id.cluster != cluster {
		return id, invalid("Invalid identifier: Identifier is for cluster %s. Your cluster is %s", id.cluster, cluster)
	}
	if (kind == "task" || kind == "container-instance") && len(id.name) == 36 {
		id.name = strings.ReplaceAll(id.name, "-", "") // the form of a UUID
	}
	return id, nil
}

// definitionRef names a revision of a family; revision 0 is the latest active one.
type definitionRef struct {
	family   string
	revision int
}

// definitionOf reads family, family:revision or an ARN with or without the revision.
func definitionOf(sc arn.Scope, s string) (definitionRef, error) {
	id, err := identify(sc, "task-definition", s)
	if err != nil {
		return definitionRef{}, err
	}
	family, number, ok := strings.Cut(id.name, ":")
	if !ok {
		return definitionRef{family: family}, nil
	}
	revision, err := strconv.Atoi(number)
	if err != nil || revision < 1 {
		return definitionRef{}, invalid("Invalid revision number. Number: %s", number)
	}
	return definitionRef{family, revision}, nil
}

// runnable finds the definition that new tasks are to run: it must be active.
func runnable(r store.Reader, sc arn.Scope, s string) (*task.Definition, error) {
	ref, err := definitionOf(sc, s)
	if err != nil {
		return nil, err
	}
	def, err := task.GetDefinition(r, sc, ref.family, ref.revision)
	switch {
	case fault.Is(err, fault.NotFound):
		return nil, clientError("TaskDefinition not found.")
	case err != nil:
		return nil, err
	case def.Status != task.Active:
		return nil, clientError("TaskDefinition is inactive")
	}
	return def, nil
}

// String is family:revision.
func (d definitionRef) String() string { return d.family + ":" + strconv.Itoa(d.revision) }

// rootARN is who made things: every caller is the account.
func rootARN(sc arn.Scope) string {
	return "arn:" + arn.Partition(sc.Region) + ":iam::" + sc.Account + ":root"
}

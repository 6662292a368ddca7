package task

import (
	"maps"
	"strings"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// MaxTags is the largest number of tags of a resource, without those that ECS itself adds.
const MaxTags = 50

// MergeTags returns a copy of tags in which the tags of add are set and then the keys of remove are deleted.
func MergeTags(tags, add map[string]string, remove []string) (map[string]string, error) {
	next := maps.Clone(tags)
	if next == nil {
		next = map[string]string{}
	}
	maps.Copy(next, add)
	for _, key := range remove {
		delete(next, key)
	}
	count := 0
	for key := range next {
		if !strings.HasPrefix(key, "aws:") { // the tags of ECS itself do not count
			count++
		}
	}
	if count > MaxTags {
		return nil, fault.New(fault.Limit, "tags", "A resource can have %d tags; with these it would have %d.", MaxTags,
			count)
	}
	return next, nil
}

// SetClusterTags replaces the tags of a cluster.
func SetClusterTags(tx *store.Tx, c Cluster, tags map[string]string) {
	c.Tags = tags
	PutCluster(tx, c)
}

// SetProviderTags replaces the tags of a capacity provider.
func SetProviderTags(tx *store.Tx, p CapacityProvider, tags map[string]string) {
	p.Tags = tags
	PutProvider(tx, p)
}

// SetDefinitionTags replaces the tags of a definition.
func SetDefinitionTags(tx *store.Tx, d Definition, tags map[string]string) {
	d.Tags = tags
	definitions.Put(tx, definitionKey(arn.Scope{Account: d.Account, Region: d.Region}, d.Family, d.Revision), &d)
}

// SetTaskTags replaces the tags of a task.
func SetTaskTags(tx *store.Tx, t Task, tags map[string]string) {
	t.Tags = tags
	t.Version++
	tasks.Put(tx, t.Key(), &t)
}

// SetServiceTags replaces the tags of a service.
func SetServiceTags(tx *store.Tx, s Service, tags map[string]string) {
	s.Tags = tags
	PutService(tx, s)
}

// TaskTags returns the tags of a new task of the service (ECS Developer Guide, "Tagging your resources").
func (s *Service) TaskTags(def *Definition) map[string]string {
	tags := map[string]string{}
	switch s.PropagateTags {
	case "SERVICE":
		maps.Copy(tags, s.Tags)
	case "TASK_DEFINITION":
		maps.Copy(tags, def.Tags)
	}
	if s.ManagedTags {
		maps.Copy(tags, ManagedTags(s.Ref()))
	}
	return tags
}

// ManagedTags returns the tags that ECS itself gives to a task of a service. A standalone task's service has no name.
func ManagedTags(service ServiceRef) map[string]string {
	tags := map[string]string{"aws:ecs:clusterName": service.Cluster}
	if service.Name != "" {
		tags["aws:ecs:serviceName"] = service.Name
	}
	return tags
}

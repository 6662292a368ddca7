package task

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// DeregisterDefinition makes a revision inactive: what runs of it goes on, nothing new may name it. An
// inactive one is returned as it is.
func DeregisterDefinition(tx *store.Tx, sc arn.Scope, family string, revision int, now time.Time) (*Definition, error) {
	old, err := GetDefinition(tx, sc, family, revision)
	if err != nil || old.Status != Active {
		return old, err
	}
	d := *old
	d.Status, d.Deregistered = Inactive, &now
	definitions.Put(tx, definitionKey(sc, family, d.Revision), &d)
	return &d, nil
}

// DeleteDefinition lets a revision that is inactive disappear once nothing uses it (see ReapDefinitions). A
// repeat returns it as it is. The texts are those of a failure of DeleteTaskDefinitions.
func DeleteDefinition(tx *store.Tx, sc arn.Scope, family string, revision int, now time.Time) (*Definition, error) {
	old, ok := definitions.Find(tx, definitionKey(sc, family, revision))
	switch {
	case !ok:
		return nil, fault.New(fault.NotFound, "revision", "The specified task definition does not exist. Specify a valid account, family, revision and try again.")
	case old.Status == Active:
		return nil, fault.New(fault.InUse, "revision", "The specified task definition is still in ACTIVE status. Please deregister the target and try again.")
	case old.Status == DeleteInProgress:
		return old, nil
	}
	d := *old
	d.Status, d.DeleteAsked = DeleteInProgress, &now
	definitions.Put(tx, definitionKey(sc, family, d.Revision), &d)
	return &d, nil
}

// ReapDefinitions deletes up to limit revisions whose deletion was asked for and that nothing uses: no task
// that can be described, no service that is not deleted. The numbers of a family go on from where they were.
func ReapDefinitions(tx *store.Tx, limit int) (more bool) {
	doomed := map[string]bool{}
	definitions.Scan(tx.Snapshot(), "", "", func(key string, d *Definition) bool {
		if d.Status == DeleteInProgress {
			doomed[key] = true
		}
		return true
	})
	if len(doomed) == 0 {
		return false
	}
	// Nothing new can name such a revision, so what uses one is not compared.
	tasks.Scan(tx.Snapshot(), "", "", func(_ string, t *Task) bool {
		delete(doomed, definitionKey(t.Scope(), t.Family, t.Revision))
		return len(doomed) > 0
	})
	services.Scan(tx.Snapshot(), "", "", func(_ string, s *Service) bool {
		if s.Status == Inactive {
			return true
		}
		uses := s.Deployments
		if earlier := s.RollbackTarget(); earlier != nil { // a rollback would bring it back
			uses = append(slices.Clone(uses), *earlier)
		}
		for _, d := range uses {
			delete(doomed, definitionKey(s.Scope(), d.Family, d.Revision))
		}
		return len(doomed) > 0
	})
	for _, key := range slices.Sorted(maps.Keys(doomed)) {
		if limit--; limit < 0 {
			return true
		}
		definitions.Delete(tx, key)
	}
	return false
}

// HasRevisions reports whether a family has any, and any that is active.
func HasRevisions(r store.Reader, sc arn.Scope, family string) (have, active bool) {
	if _, err := GetDefinition(r, sc, family, 0); err == nil {
		return true, true
	}
	return !definitions.Empty(r, familyKey(sc, family)+"/"), false
}

// ScanFamilies calls fn with the names of the region's families that begin with prefix, behind the name
// after, by name.
func ScanFamilies(r store.Reader, sc arn.Scope, prefix, after string, fn func(name string) bool) {
	if after != "" {
		after = familyKey(sc, after)
	}
	families.Scan(r, familyKey(sc, prefix), after, func(key string, _ *Family) bool { return fn(strings.TrimPrefix(key, sc.Prefix())) })
}

// DeleteCluster makes a cluster inactive that holds no services and no tasks. Nodes do not count: they are
// this server's own, in every cluster. An inactive cluster is returned as it is.
func DeleteCluster(tx *store.Tx, sc arn.Scope, name string) (*Cluster, error) {
	old, ok := FindCluster(tx, sc, name)
	switch {
	case !ok:
		return nil, fault.New(fault.NotFound, "cluster", "Cluster not found.")
	case old.Status != Active:
		return old, nil
	}
	var err error
	ScanServices(tx, old.Ref(), "", func(s *Service) bool {
		if s.Status != Inactive {
			err = fault.New(fault.InUse, "services", "The Cluster cannot be deleted while Services are active.")
		}
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	// Not compared: whoever starts a task reads the cluster's row, which is written below.
	ScanTasks(tx.Snapshot(), old.Ref(), "", func(t *Task) bool {
		if t.Observed.State != Stopped {
			err = fault.New(fault.InUse, "tasks", "The Cluster cannot be deleted while Tasks are active.")
		}
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	instances.Scan(tx, old.Ref().members(), "", func(key string, _ *ContainerInstance) bool { instances.Delete(tx, key); return true })
	c := *old
	c.Status = Inactive
	PutCluster(tx, c)
	return &c, nil
}

// DeleteService begins the end of a service: nothing is wanted of it any more, and when its tasks have
// ended it is inactive. Unless by force, it must have been scaled to 0. A repeat returns it as it is.
func DeleteService(tx *store.Tx, ref ServiceRef, force bool, now time.Time) (*Service, error) {
	old, ok := FindService(tx, ref)
	switch {
	case !ok:
		return nil, fault.New(fault.NotFound, "service", "Service not found.")
	case old.Status != Active:
		return old, nil
	case old.DesiredCount > 0 && !force && !old.Daemon:
		return nil, fault.New(fault.Invalid, "service", "The service cannot be stopped while it is scaled above 0.")
	}
	svc := *old
	svc.Status, svc.DesiredCount = DrainingStatus, 0
	endServiceDeployment(tx, &svc, "The service is being deleted.", now)
	PutService(tx, svc)
	return &svc, nil
}

// ContainerID is the last part of the ARN of a task's container. It is the same each time it is asked for,
// so that it is known before the container is and no crash renames it.
func ContainerID(task ID, name string) string {
	return uuid.NewSHA1(uuid.Nil, []byte(string(task)+"/"+name)).String()
}

// TokenID is the id of the nth task that a RunTask request with a client token starts: the same for each
// repeat of the request, so that two of them at once never both start tasks.
func TokenID(cluster ClusterRef, token string, n int) ID {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%s\x00%d", cluster.Account, cluster.Region, cluster.Name, token, n))
	return ID(hex.EncodeToString(sum[:16]))
}

// ContainerARN is the ARN of one of the task's containers.
func (t *Task) ContainerARN(name string) string {
	return ecsARN(t.Scope(), "container/"+t.Cluster+"/"+string(t.ID)+"/"+ContainerID(t.ID, name))
}

// MaxTags is how many tags a cluster, definition or service may have.
const MaxTags = 50

// MergeTags returns tags with some added or replaced, then some removed. The argument stays as it is.
func MergeTags(tags, add map[string]string, remove []string) (map[string]string, error) {
	next := maps.Clone(tags)
	if next == nil {
		next = map[string]string{}
	}
	maps.Copy(next, add)
	for _, key := range remove {
		delete(next, key)
	}
	own := 0
	for key := range next {
		if !strings.HasPrefix(key, "aws:") { // ECS's own do not count
			own++
		}
	}
	if own > MaxTags {
		return nil, fault.New(fault.Limit, "tags", "A resource can have %d tags; with these it would have %d.", MaxTags, own)
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

// ReserveServiceName looks whether a service of this name can be made. The service that the same request has made
// already is returned; nil says that the name is free. An inactive predecessor's history is forgotten.
func ReserveServiceName(tx *store.Tx, ref ServiceRef, request string) (*Service, error) {
	old, ok := FindService(tx, ref)
	switch {
	case !ok:
		return nil, nil
	case old.Status == DrainingStatus:
		return nil, fault.New(fault.Invalid, "service", "Unable to Start a service that is still Draining.")
	case old.Status == Active && old.Request == request:
		return old, nil
	case old.Status == Active:
		return nil, fault.New(fault.Exists, "service", "Creation of service was not idempotent.")
	}
	forget(tx, ref)
	return nil, nil
}

package registry

import (
	"maps"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// MaxTags is the largest number of tags of a namespace or service (Cloud Map quotas).
const MaxTags = 50

// Resource names a namespace or service that has tags.
type Resource struct {
	Namespace bool // whether ID is the id of a namespace, else of a service
	ID        string
}

func (res Resource) notFound() error {
	return fault.New(fault.NotFound, "resource", "There is no resource %s", res.ID)
}

// Tags returns the tags of a resource. The map belongs to the row: callers must not change it.
func Tags(r store.Reader, sc arn.Scope, res Resource) (map[string]string, error) {
	if res.Namespace {
		if ns, ok := namespaces.Find(r, namespaceKey(sc, res.ID)); ok {
			return ns.Tags, nil
		}
	} else if svc, ok := services.Find(r, serviceKey(sc, res.ID)); ok {
		return svc.Tags, nil
	}
	return nil, res.notFound()
}

// PutTags sets tags of a resource.
func PutTags(tx *store.Tx, sc arn.Scope, res Resource, tags map[string]string) error {
	return changeTags(tx, sc, res, func(all map[string]string) { maps.Copy(all, tags) })
}

// DeleteTags deletes tags of a resource. It ignores keys that the resource does not have.
func DeleteTags(tx *store.Tx, sc arn.Scope, res Resource, keys []string) error {
	return changeTags(tx, sc, res, func(all map[string]string) {
		for _, k := range keys {
			delete(all, k)
		}
	})
}

func changeTags(tx *store.Tx, sc arn.Scope, res Resource, do func(map[string]string)) error {
	old, err := Tags(tx, sc, res)
	if err != nil {
		return err
	}
	tags := map[string]string{}
	maps.Copy(tags, old)
	do(tags)
	if len(tags) > MaxTags {
		return fault.New(fault.Limit, "tags", "A resource can have up to %d tags; it would have %d", MaxTags, len(tags))
	}
	if res.Namespace {
		ns, err := GetNamespace(tx, sc, res.ID)
		if err != nil {
			return err
		}
		changed := *ns
		changed.Tags = tags
		namespaces.Put(tx, namespaceKey(sc, res.ID), &changed)
		return nil
	}
	svc, err := GetService(tx, sc, res.ID)
	if err != nil {
		return err
	}
	changed := *svc
	changed.Tags = tags
	services.Put(tx, serviceKey(sc, res.ID), &changed)
	return nil
}

package task

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// The statuses of clusters, services and task definitions.
const (
	Active         = "ACTIVE"
	DrainingStatus = "DRAINING"
	Inactive       = "INACTIVE"
	// DeleteInProgress is a definition's that goes once nothing uses it.
	DeleteInProgress = "DELETE_IN_PROGRESS"
)

// DefaultCluster is the cluster of calls that name none. It exists from its first use.
const DefaultCluster = "default"

// Cluster is a boundary for services and tasks.
type Cluster struct {
	Account, Region string
	Name            string
	Status          string
	Created         time.Time
	Providers       []string       `json:",omitempty"` // the capacity providers that its tasks may name
	Associated      bool           `json:",omitempty"` // that Providers were set, if only to none
	Strategy        []StrategyItem `json:",omitempty"` // of tasks and services that name neither providers nor a launch type
	// Sent is the CreateCluster request with later updates laid over it, for what this package does not
	// interpret and a client reads back.
	Sent json.RawMessage   `json:",omitempty"`
	Tags map[string]string `json:",omitempty"`
}

// Scope is the partition the cluster lives in.
func (c *Cluster) Scope() arn.Scope { return arn.Scope{Account: c.Account, Region: c.Region} }

// Ref returns the reference of the cluster.
func (c *Cluster) Ref() ClusterRef { return ClusterRef{c.Scope(), c.Name} }

// ARN is the cluster's ARN.
func (c *Cluster) ARN() string { return c.Ref().ARN() }

// CreateCluster makes a cluster; an active one of that name is returned as it is.
func CreateCluster(tx *store.Tx, c Cluster, now time.Time) *Cluster {
	if old, ok := clusters.Find(tx, c.Ref().Key()); ok && old.Status == Active {
		return old
	}
	c.Status, c.Created = Active, now
	PutCluster(tx, c)
	return &c
}

// PutCluster writes a cluster's row.
func PutCluster(tx *store.Tx, c Cluster) { clusters.Put(tx, c.Ref().Key(), &c) }

// UseCluster finds the cluster that a writing call works in. The default cluster is made when it is first
// used; AWS leaves that to its console, so that a first `aws ecs create-service` fails there.
func UseCluster(tx *store.Tx, sc arn.Scope, name string, now time.Time) (*Cluster, error) {
	if name == DefaultCluster {
		return CreateCluster(tx, Cluster{Account: sc.Account, Region: sc.Region, Name: name}, now), nil
	}
	return GetCluster(tx, sc, name)
}

// GetCluster finds an active cluster.
func GetCluster(r store.Reader, sc arn.Scope, name string) (*Cluster, error) {
	c, ok := FindCluster(r, sc, name)
	switch {
	case !ok:
		return nil, fault.New(fault.NotFound, "cluster", "Cluster not found.")
	case c.Status != Active:
		return nil, fault.New(fault.NotFound, "cluster", "The referenced cluster was inactive.")
	}
	return c, nil
}

// FindCluster finds a cluster, also an inactive one. The default cluster is there, empty, before its first
// use has written its row.
func FindCluster(r store.Reader, sc arn.Scope, name string) (*Cluster, bool) {
	c, ok := clusters.Find(r, ClusterRef{sc, name}.Key())
	if !ok && name == DefaultCluster {
		return unusedDefault(sc), true
	}
	return c, ok
}

func unusedDefault(sc arn.Scope) *Cluster {
	return &Cluster{Account: sc.Account, Region: sc.Region, Name: DefaultCluster, Status: Active}
}

// ScanClusters calls fn with the region's clusters behind the name after, by name; the default one is among
// them also before its first use.
func ScanClusters(r store.Reader, sc arn.Scope, after string, fn func(*Cluster) bool) {
	_, used := clusters.Find(r, ClusterRef{sc, DefaultCluster}.Key())
	unused, more := !used && after < DefaultCluster, true
	if after != "" {
		after = ClusterRef{sc, after}.Key()
	}
	clusters.Scan(r, sc.Prefix(), after, func(_ string, c *Cluster) bool {
		if unused && c.Name > DefaultCluster {
			unused, more = false, fn(unusedDefault(sc))
		}
		more = more && fn(c)
		return more
	})
	if unused && more {
		fn(unusedDefault(sc))
	}
}

// Event is one line of a service's history.
type Event struct {
	ID      string
	Created time.Time
	Message string
}

// MaxEvents is how many events of a service are kept and shown (ECS shows 100).
const MaxEvents = 100

// AddEvent adds an event to a service's history and deletes the oldest ones beyond MaxEvents. The stored message begins
// with the service's name.
func AddEvent(tx *store.Tx, svc *Service, e Event) {
	var keys []string
	events.Scan(tx.Snapshot(), svc.Ref().members(), "", func(key string, _ *Event) bool { keys = append(keys, key); return true })
	for len(keys) >= MaxEvents {
		events.Delete(tx, keys[0])
		keys = keys[1:]
	}
	e.Message = fmt.Sprintf("(service %s) %s", svc.Name, e.Message)
	events.Put(tx, eventKey(svc.Ref(), &e), &e)
}

// LastEvent is the newest of a service's events.
func LastEvent(s *store.Snapshot, svc *Service) (last *Event, ok bool) {
	events.ScanReverse(s, svc.Ref().members(), "", func(_ string, e *Event) bool { last, ok = e, true; return false })
	return last, ok
}

// Events are a service's events, newest first.
func Events(r store.Reader, svc *Service) []*Event {
	var es []*Event
	events.Scan(r, svc.Ref().members(), "", func(_ string, e *Event) bool { es = append(es, e); return true })
	for i, j := 0, len(es)-1; i < j; i, j = i+1, j-1 {
		es[i], es[j] = es[j], es[i]
	}
	return es
}

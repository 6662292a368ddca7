package task

import (
	"encoding/json"
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
	// DeleteInProgress is the status of a definition that is deleted as soon as it is unused.
	DeleteInProgress = "DELETE_IN_PROGRESS"
)

// DefaultCluster is the cluster of calls that name no cluster. Its first use creates its row.
const DefaultCluster = "default"

// Cluster groups services and tasks.
type Cluster struct {
	Account, Region string
	Name            string
	Status          string
	Created         time.Time
	Providers       []string `json:",omitempty"` // the capacity providers that strategies in the cluster may name
	Associated      bool     `json:",omitempty"` // whether Providers have been set, possibly to none
	// the default for tasks and services without a strategy and a launch type
	Strategy []StrategyItem `json:",omitempty"`
	// Sent is the CreateCluster request with later updates merged into it. It holds the members that this package does
	// not interpret and that the API returns.
	Sent json.RawMessage   `json:",omitempty"`
	Tags map[string]string `json:",omitempty"`
}

// Scope returns the account and region of the cluster.
func (c *Cluster) Scope() arn.Scope { return arn.Scope{Account: c.Account, Region: c.Region} }

// Ref returns the reference of the cluster.
func (c *Cluster) Ref() ClusterRef { return ClusterRef{c.Scope(), c.Name} }

// ARN returns the ARN of the cluster.
func (c *Cluster) ARN() string { return c.Ref().ARN() }

// CreateCluster adds a cluster. An active cluster of that name is returned unchanged.
func CreateCluster(tx *store.Tx, c Cluster, now time.Time) *Cluster {
	if old, ok := clusters.Find(tx, c.Ref().Key()); ok && old.Status == Active {
		return old
	}
	c.Status, c.Created = Active, now
	PutCluster(tx, c)
	return &c
}

// PutCluster writes the row of a cluster.
func PutCluster(tx *store.Tx, c Cluster) { clusters.Put(tx, c.Ref().Key(), &c) }

// UseCluster returns the cluster for a call that writes. It creates the default cluster on its first use. At AWS only
// the console creates it, so a first `aws ecs create-service` fails there.
func UseCluster(tx *store.Tx, sc arn.Scope, name string, now time.Time) (*Cluster, error) {
	if name == DefaultCluster {
		return CreateCluster(tx, Cluster{Account: sc.Account, Region: sc.Region, Name: name}, now), nil
	}
	return GetCluster(tx, sc, name)
}

// GetCluster returns an active cluster, or a NotFound error.
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

// FindCluster returns a cluster, if it exists. The cluster may be inactive. The default cluster always exists.
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

// ScanClusters calls fn with the clusters of a region whose names are greater than after, in the order of their names,
// until fn returns false. The default cluster is always one of them.
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

// DeleteCluster makes a cluster without services and tasks inactive. Unlike at AWS, it may have container instances:
// every node is in every cluster. An inactive cluster is returned unchanged.
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
	// The tasks need no comparison at commit: a transaction that starts a task reads the cluster's row, which is written
	// below.
	ScanTasks(tx.Snapshot(), old.Ref(), "", func(t *Task) bool {
		if t.Observed.State != Stopped {
			err = fault.New(fault.InUse, "tasks", "The Cluster cannot be deleted while Tasks are active.")
		}
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	instances.Scan(tx, old.Ref().members(), "", func(key string, _ *ContainerInstance) bool {
		instances.Delete(tx, key)
		return true
	})
	c := *old
	c.Status = Inactive
	PutCluster(tx, c)
	return &c, nil
}

package task

import (
	"fmt"
	"time"

	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// The statuses of clusters, services and task definitions.
const (
	Active         = "ACTIVE"
	DrainingStatus = "DRAINING"
	Inactive       = "INACTIVE"
)

// DefaultCluster is the cluster of calls that name none. It exists from its first use.
const DefaultCluster = "default"

// Cluster is a boundary for services and tasks.
type Cluster struct {
	Account, Region string
	Name            string
	Status          string
	Created         time.Time
	Tags            map[string]string `json:",omitempty"`
}

// ARN is the cluster's ARN.
func (c *Cluster) ARN() string { return ecsARN(c.Account, c.Region, "cluster/"+c.Name) }

func ecsARN(account, region, tail string) string {
	return "arn:" + Partition(region) + ":ecs:" + region + ":" + account + ":" + tail
}

// Partition is the ARN partition that a region belongs to.
func Partition(region string) string {
	switch {
	case len(region) > 3 && region[:3] == "cn-":
		return "aws-cn"
	case len(region) > 7 && region[:7] == "us-gov-":
		return "aws-us-gov"
	}
	return "aws"
}

// CreateCluster makes a cluster; an active one of that name is returned as it is.
func CreateCluster(tx *store.Tx, sc Scope, name string, tags map[string]string, now time.Time) *Cluster {
	key := sc.Region + "/" + name
	if c, ok := clusters.Find(tx, key); ok && c.Status == Active {
		return c
	}
	c := &Cluster{Account: sc.Account, Region: sc.Region, Name: name, Status: Active, Created: now, Tags: tags}
	clusters.Put(tx, key, c)
	return c
}

// UseCluster finds the cluster that a writing call works in. The default cluster is made when it is first
// used; AWS leaves that to its console, so that a first `aws ecs create-service` fails there.
func UseCluster(tx *store.Tx, sc Scope, name string, now time.Time) (*Cluster, error) {
	if name == DefaultCluster {
		return CreateCluster(tx, sc, name, nil, now), nil
	}
	return GetCluster(tx, sc, name)
}

// GetCluster finds an active cluster.
func GetCluster(r store.Reader, sc Scope, name string) (*Cluster, error) {
	c, ok := FindCluster(r, sc, name)
	switch {
	case !ok:
		return nil, fault.New(fault.NotFound, "cluster", "Cluster not found.")
	case c.Status != Active:
		return nil, fault.New(fault.NotFound, "cluster", "The referenced cluster was inactive.")
	}
	return c, nil
}

// FindCluster finds a cluster, also an inactive one.
func FindCluster(r store.Reader, sc Scope, name string) (*Cluster, bool) {
	return clusters.Find(r, sc.Region+"/"+name)
}

// ScanClusters calls fn with the region's clusters behind the name after, by name.
func ScanClusters(r store.Reader, sc Scope, after string, fn func(*Cluster) bool) {
	if after != "" {
		after = sc.Region + "/" + after
	}
	clusters.Scan(r, sc.Region+"/", after, func(_ string, c *Cluster) bool { return fn(c) })
}

// Event is one line of a service's history.
type Event struct {
	ID      string
	Created time.Time
	Message string
}

// MaxEvents is how many events of a service are kept and shown (ECS shows 100).
const MaxEvents = 100

// Record adds an event to a service's history and drops what is beyond MaxEvents.
func Record(tx *store.Tx, svc *Service, id, message string, now time.Time) {
	under := svc.key() + "/"
	var keys []string
	events.Scan(tx.Snapshot(), under, "", func(key string, _ *Event) bool { keys = append(keys, key); return true })
	for len(keys) >= MaxEvents {
		events.Delete(tx, keys[0])
		keys = keys[1:]
	}
	key := fmt.Sprintf("%s%020d-%s", under, now.UnixNano(), id)
	events.Put(tx, key, &Event{ID: id, Created: now, Message: fmt.Sprintf("(service %s) %s", svc.Name, message)})
}

// Events are a service's events, newest first.
func Events(r store.Reader, svc *Service) []*Event {
	var es []*Event
	events.Scan(r, svc.key()+"/", "", func(_ string, e *Event) bool { es = append(es, e); return true })
	for i, j := 0, len(es)-1; i < j; i, j = i+1, j-1 {
		es[i], es[j] = es[j], es[i]
	}
	return es
}

// Node is a machine that runs tasks.
type Node struct {
	Name    string
	Address string
	Runtime string
	Started time.Time
}

// PutNode tells placement of a node.
func PutNode(tx *store.Tx, n Node) { nodes.Put(tx, n.Name, &n) }

// Nodes are the nodes that tasks can be placed on, by name.
func Nodes(r store.Reader) []*Node {
	var ns []*Node
	nodes.Scan(r, "", "", func(_ string, n *Node) bool { ns = append(ns, n); return true })
	return ns
}

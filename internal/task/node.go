package task

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/store"
)

// Node is a machine that runs tasks.
type Node struct {
	Name    string
	Address string
	Runtime string // "none" takes no tasks
	Started time.Time
	// Registered is when the node was first known; zero is Started.
	Registered time.Time `json:",omitzero"`
	// CPU (in units, 1024 a core) and Memory (in MiB) are what its tasks may take in all; 0 is as much as they like.
	CPU    int `json:",omitempty"`
	Memory int `json:",omitempty"`
	// Zone is the letter that follows a region's name in that of its availability zone.
	Zone         string `json:",omitempty"`
	OS           string `json:",omitempty"` // linux
	Architecture string `json:",omitempty"` // x86_64, arm64
	Version      string `json:",omitempty"` // of its server
	Engine       string `json:",omitempty"` // the version of its container engine
	// Slices are the parts of VPCs that its containers have addresses of.
	Slices []Slice `json:",omitempty"`
}

// Slice is a node's part of a VPC's networks.
type Slice struct {
	VPC     string       `json:",omitempty"`
	Prefix  netip.Prefix `json:",omitzero"`
	Prefix6 netip.Prefix `json:",omitzero"`
}

// NoRuntime is the runtime of a node that takes no tasks.
const NoRuntime = "none"

// RegisteredAt is when the node was first known.
func (n *Node) RegisteredAt() time.Time {
	if n.Registered.IsZero() {
		return n.Started
	}
	return n.Registered
}

// Attributes are those that ECS gives to a container instance, in a region (ECS Developer Guide, "Attributes").
func (n *Node) Attributes(region string) map[string]string {
	a := map[string]string{
		"ecs.availability-zone": region + n.Zone,
		"ecs.instance-type":     "rollcall." + n.Runtime,
		"ecs.os-type":           "linux",
		"ecs.os-family":         "LINUX",
		// What every runtime here can do, by the names that constraints ask for.
		"ecs.capability.task-eni":               "",
		"ecs.capability.container-health-check": "",
		"ecs.capability.container-ordering":     "",
		"ecs.capability.external":               "",
	}
	if n.OS != "" {
		a["ecs.os-type"], a["ecs.os-family"] = n.OS, strings.ToUpper(n.OS)
	}
	if n.Architecture != "" {
		a["ecs.cpu-architecture"] = n.Architecture
	}
	return a
}

// ContainerInstanceID is the id that a node has as a container instance: 32 hex digits.
func ContainerInstanceID(node string) string {
	sum := sha256.Sum256([]byte(node))
	return hex.EncodeToString(sum[:16])
}

// ContainerInstanceARN returns the ARN of the container instance with an id in a cluster.
func ContainerInstanceARN(cluster ClusterRef, id string) string {
	return ecsARN(cluster.Scope, "container-instance/"+cluster.Name+"/"+id)
}

// PutNode tells placement of a node.
func PutNode(tx *store.Tx, n Node) { nodes.Put(tx, n.Name, &n) }

// FindNode finds a node, live or not.
func FindNode(r store.Reader, name string) (*Node, bool) { return nodes.Find(r, name) }

// Alive is the row of a node whose server runs. It hangs on a lease that the server keeps, so it goes when the server
// stops, dies, or loses etcd for longer than the lease lasts.
type Alive struct{ Since time.Time }

// AliveNode is the name of the node whose liveness the row of a key shows; false for the keys of other rows.
func AliveNode(key string) (name string, ok bool) { return alive.ID(key) }

// KeepAlive makes a node live until leave is called, or this process ends. ctx bounds the call only.
func KeepAlive(ctx context.Context, db *store.Store, node string) (leave func(), err error) {
	return store.PutWithLease(ctx, db, alive, node, &Alive{Since: time.Now()})
}

// LiveNodes are the nodes whose servers run now, by name: they answer clients, and tasks can be placed on those of
// them that have a runtime.
func LiveNodes(r store.Reader) []*Node {
	var ns []*Node
	nodes.Scan(r, "", "", func(name string, n *Node) bool {
		if Live(r, name) {
			ns = append(ns, n)
		}
		return true
	})
	return ns
}

// Live reports whether a node's server runs now.
func Live(r store.Reader, node string) bool { _, ok := alive.Find(r, node); return ok }

// LiveSince is when a live node's server last got its lease.
func LiveSince(r store.Reader, node string) (time.Time, bool) {
	a, ok := alive.Find(r, node)
	if !ok {
		return time.Time{}, false
	}
	return a.Since, true
}

// Nodes are all nodes that ever were, by name, those that are lost among them.
func Nodes(r store.Reader) []*Node {
	var ns []*Node
	nodes.Scan(r, "", "", func(_ string, n *Node) bool { ns = append(ns, n); return true })
	return ns
}

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
	// Registered is the time at which the node first started; zero means Started.
	Registered time.Time `json:",omitzero"`
	// CPU (in units, 1024 per core) and Memory (in MiB) are available to all its tasks together; 0 means unlimited.
	CPU    int `json:",omitempty"`
	Memory int `json:",omitempty"`
	// Zone is the letter that the name of its availability zone adds to the name of a region.
	Zone         string `json:",omitempty"`
	OS           string `json:",omitempty"` // linux
	Architecture string `json:",omitempty"` // x86_64, arm64
	Version      string `json:",omitempty"` // of its server
	Engine       string `json:",omitempty"` // the version of its container engine
	// Slices are the address ranges of its containers, one for each VPC.
	Slices []Slice `json:",omitempty"`
}

// Slice is the part of a VPC's networks from which one node assigns addresses.
type Slice struct {
	VPC     string       `json:",omitempty"`
	Prefix  netip.Prefix `json:",omitzero"`
	Prefix6 netip.Prefix `json:",omitzero"`
}

// NoRuntime is the runtime of a node that takes no tasks.
const NoRuntime = "none"

// RegisteredAt returns the time at which the node first started.
func (n *Node) RegisteredAt() time.Time {
	if n.Registered.IsZero() {
		return n.Started
	}
	return n.Registered
}

// Attributes returns the attributes that ECS itself gives to a container instance in a region (ECS Developer Guide,
// "Attributes").
func (n *Node) Attributes(region string) map[string]string {
	a := map[string]string{
		"ecs.availability-zone": region + n.Zone,
		"ecs.instance-type":     "rollcall." + n.Runtime,
		"ecs.os-type":           "linux",
		"ecs.os-family":         "LINUX",
		// Capabilities of every runtime, under the names that placement constraints use.
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

// ContainerInstanceID returns the id of a node as a container instance: 32 hex digits. It is the same in every cluster.
func ContainerInstanceID(node string) string {
	sum := sha256.Sum256([]byte(node))
	return hex.EncodeToString(sum[:16])
}

// ContainerInstanceARN returns the ARN of the container instance with an id in a cluster.
func ContainerInstanceARN(cluster ClusterRef, id string) string {
	return ecsARN(cluster.Scope, "container-instance/"+cluster.Name+"/"+id)
}

// PutNode writes the row of a node.
func PutNode(tx *store.Tx, n Node) { nodes.Put(tx, n.Name, &n) }

// FindNode returns a node, if its row exists. The node may be lost.
func FindNode(r store.Reader, name string) (*Node, bool) { return nodes.Find(r, name) }

// Alive is a row that exists while a node's server runs. It is attached to an etcd lease that the server renews, so it
// disappears when the server stops or crashes, or cannot reach etcd before the lease expires.
type Alive struct{ Since time.Time }

// AliveNode returns the name of the node to which the Alive row with a key belongs. It returns false for the keys of
// other rows.
func AliveNode(key string) (name string, ok bool) { return alive.ID(key) }

// KeepAlive makes a node live until the caller calls leave or this process ends. ctx applies to the call only.
func KeepAlive(ctx context.Context, db *store.Store, node string) (leave func(), err error) {
	return store.PutWithLease(ctx, db, alive, node, &Alive{Since: time.Now()})
}

// LiveNodes returns the live nodes, ordered by name. They answer clients; those with a runtime also run tasks.
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

// Live reports whether a node is live: its server is running.
func Live(r store.Reader, node string) bool { _, ok := alive.Find(r, node); return ok }

// LiveSince returns the time at which a node became live. It returns false if the node is not live.
func LiveSince(r store.Reader, node string) (time.Time, bool) {
	a, ok := alive.Find(r, node)
	if !ok {
		return time.Time{}, false
	}
	return a.Since, true
}

// Nodes returns all nodes, including lost ones, ordered by name.
func Nodes(r store.Reader) []*Node {
	var ns []*Node
	nodes.Scan(r, "", "", func(_ string, n *Node) bool { ns = append(ns, n); return true })
	return ns
}

package task

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/bakingclouds/rollcall/internal/store"
)

// Node is a machine that runs tasks.
type Node struct {
	Name    string
	Address string
	Runtime string
	Started time.Time
}

// ContainerInstanceID is the id that a node has as a container instance: 32 hex digits.
func ContainerInstanceID(node string) string {
	sum := sha256.Sum256([]byte(node))
	return hex.EncodeToString(sum[:16])
}

// ContainerInstanceARN is the ARN of a node as a container instance of a cluster. Every node is one of
// every cluster.
func ContainerInstanceARN(sc Scope, cluster, node string) string {
	return ecsARN(sc.Account, sc.Region, "container-instance/"+cluster+"/"+ContainerInstanceID(node))
}

// PutNode tells placement of a node.
func PutNode(tx *store.Tx, n Node) { nodes.Put(tx, n.Name, &n) }

// FindNode finds a node, live or not.
func FindNode(r store.Reader, name string) (*Node, bool) { return nodes.Find(r, name) }

// Alive is the row of a node whose server runs. It hangs on a lease that the server keeps, so it goes when the server
// stops, dies, or loses etcd for longer than the lease lasts.
type Alive struct{ Since time.Time }

// KeepAlive makes a node live until leave is called, or this process ends. ctx bounds the call only.
func KeepAlive(ctx context.Context, db *store.Store, node string) (leave func(), err error) {
	return store.Hold(ctx, db, alive, node, &Alive{Since: time.Now()})
}

// LiveNodes are the nodes whose servers run now, by name: they answer clients, and tasks can be placed on those of
// them that have a runtime.
func LiveNodes(r store.Reader) []*Node {
	var ns []*Node
	nodes.Scan(r, "", "", func(name string, n *Node) bool {
		if _, ok := alive.Find(r, name); ok {
			ns = append(ns, n)
		}
		return true
	})
	return ns
}

// Nodes are all nodes that ever were, by name, those that are lost among them.
func Nodes(r store.Reader) []*Node {
	var ns []*Node
	nodes.Scan(r, "", "", func(_ string, n *Node) bool { ns = append(ns, n); return true })
	return ns
}

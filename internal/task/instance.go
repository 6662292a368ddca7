package task

import (
	"maps"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

var instances = store.NewTable[ContainerInstance]("container instance", "task/instance/") // region/cluster/node

// ContainerInstance is a node as a cluster sees it. Every node is one of every cluster; there is a row where a client
// has said something of it there.
type ContainerInstance struct {
	Account, Region string
	Cluster         string
	Node            string
	Status          string            // ACTIVE, DRAINING; INACTIVE once deregistered, until the node's server starts again
	Attributes      map[string]string `json:",omitempty"` // a client's own, beside the node's
	Tags            map[string]string `json:",omitempty"`
	Version         int64             // grows with each change
}

// ClusterRef returns the reference of the cluster.
func (c *ContainerInstance) ClusterRef() ClusterRef {
	return ClusterRef{arn.Scope{Account: c.Account, Region: c.Region}, c.Cluster}
}

func (c *ContainerInstance) key() string { return instanceKey(c.ClusterRef(), c.Node) }

// ID is its id: 32 hex digits.
func (c *ContainerInstance) ID() string { return ContainerInstanceID(c.Node) }

// ARN is its ARN.
func (c *ContainerInstance) ARN() string {
	return ContainerInstanceARN(c.ClusterRef(), c.ID())
}

// EC2InstanceID is its id as a machine. Those of hosts outside EC2 begin with mi-, so that no client asks EC2 about
// them.
func (c *ContainerInstance) EC2InstanceID() string { return MachineID(c.Node) }

// MachineID is a node's id as a machine.
func MachineID(node string) string { return "mi-" + ContainerInstanceID(node)[:17] }

// FindInstance is a node as a container instance of a cluster; whether there is such a node, the caller knows.
func FindInstance(r store.Reader, cluster ClusterRef, node string) *ContainerInstance {
	c := &ContainerInstance{Account: cluster.Account, Region: cluster.Region, Cluster: cluster.Name, Node: node, Status: Active, Version: 1}
	if row, ok := instances.Find(r, c.key()); ok {
		return row
	}
	return c
}

// PutInstance writes what is said of a container instance.
func PutInstance(tx *store.Tx, c ContainerInstance) {
	c.Version++
	instances.Put(tx, c.key(), &c)
}

// DeregisterInstance takes a container instance out of its cluster, until its node's server starts again: no task of the
// cluster is placed there, and what clients said of it is forgotten.
func DeregisterInstance(tx *store.Tx, c ContainerInstance) *ContainerInstance {
	c.Status, c.Attributes, c.Tags = Inactive, nil, nil
	PutInstance(tx, c)
	c.Version++
	return &c
}

// SetInstanceDraining changes the status of a container instance to DRAINING, so that no task is placed there and those of
// services are replaced elsewhere, or back to ACTIVE.
func SetInstanceDraining(tx *store.Tx, c ContainerInstance, drain bool) *ContainerInstance {
	status := Active
	if drain {
		status = DrainingStatus
	}
	if c.Status != status {
		c.Status = status
		PutInstance(tx, c)
		c.Version++
	}
	return &c
}

// MaxAttributes is how many attributes of its own a container instance may have (ECS Developer Guide, "Quotas").
const MaxAttributes = 10

// PutAttributes lays attributes over those of a container instance.
func PutAttributes(tx *store.Tx, c ContainerInstance, attributes map[string]string) error {
	next := maps.Clone(c.Attributes)
	if next == nil {
		next = map[string]string{}
	}
	maps.Copy(next, attributes)
	if len(next) > MaxAttributes {
		return fault.New(fault.Limit, "attributes", "A container instance can have %d attributes of its own; with these it would have %d.", MaxAttributes, len(next))
	}
	if !maps.Equal(next, c.Attributes) {
		c.Attributes = next
		PutInstance(tx, c)
	}
	return nil
}

// DeleteAttribute removes an attribute of a container instance and reports whether there was one.
func DeleteAttribute(tx *store.Tx, c ContainerInstance, name string) bool {
	if _, ok := c.Attributes[name]; !ok {
		return false
	}
	c.Attributes = maps.Clone(c.Attributes)
	delete(c.Attributes, name)
	PutInstance(tx, c)
	return true
}

// SetInstanceTags replaces the tags of a container instance.
func SetInstanceTags(tx *store.Tx, c ContainerInstance, tags map[string]string) {
	c.Tags = tags
	PutInstance(tx, c)
}

// ReactivateInstances forgets that a node was deregistered, wherever it was: its server starts again.
func ReactivateInstances(tx *store.Tx, node string) {
	instances.Scan(tx, "", "", func(key string, c *ContainerInstance) bool {
		if c.Node == node && c.Status == Inactive {
			instances.Delete(tx, key)
		}
		return true
	})
}

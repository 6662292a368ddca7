package task

import (
	"maps"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

var instances = store.NewTable[ContainerInstance]("container instance", "task/instance/") // region/cluster/node

// ContainerInstance is a node in one cluster. Every node is a container instance of every cluster; only those that a
// client has changed have a row.
type ContainerInstance struct {
	Account, Region string
	Cluster         string
	Node            string
	// ACTIVE or DRAINING; INACTIVE from the deregistration until the node's server starts again
	Status     string
	Attributes map[string]string `json:",omitempty"` // custom attributes; Node.Attributes returns the others
	Tags       map[string]string `json:",omitempty"`
	Version    int64             // increases with each change
}

// ClusterRef returns the reference of the container instance's cluster.
func (c *ContainerInstance) ClusterRef() ClusterRef {
	return ClusterRef{arn.Scope{Account: c.Account, Region: c.Region}, c.Cluster}
}

func (c *ContainerInstance) key() string { return instanceKey(c.ClusterRef(), c.Node) }

// ID returns the id of the container instance: 32 hex digits.
func (c *ContainerInstance) ID() string { return ContainerInstanceID(c.Node) }

// ARN returns the ARN of the container instance.
func (c *ContainerInstance) ARN() string {
	return ContainerInstanceARN(c.ClusterRef(), c.ID())
}

// EC2InstanceID returns the id of the machine. It begins with mi-, as AWS's ids of hosts outside EC2 do, so that
// clients do not look it up in EC2.
func (c *ContainerInstance) EC2InstanceID() string { return MachineID(c.Node) }

// MachineID returns the id of a node as a machine.
func MachineID(node string) string { return "mi-" + ContainerInstanceID(node)[:17] }

// FindInstance returns a node as a container instance of a cluster. It does not check that the node exists.
func FindInstance(r store.Reader, cluster ClusterRef, node string) *ContainerInstance {
	c := &ContainerInstance{Account: cluster.Account, Region: cluster.Region, Cluster: cluster.Name, Node: node,
		Status: Active, Version: 1}
	if row, ok := instances.Find(r, c.key()); ok {
		return row
	}
	return c
}

// PutInstance writes the row of a container instance.
func PutInstance(tx *store.Tx, c ContainerInstance) {
	c.Version++
	instances.Put(tx, c.key(), &c)
}

// DeregisterInstance removes a container instance from its cluster until the node's server starts again: no task of the
// cluster is placed on it. Its custom attributes and tags are deleted.
func DeregisterInstance(tx *store.Tx, c ContainerInstance) *ContainerInstance {
	c.Status, c.Attributes, c.Tags = Inactive, nil, nil
	PutInstance(tx, c)
	c.Version++
	return &c
}

// SetInstanceDraining sets the status of a container instance to DRAINING, so that no task is placed on it and services
// replace its tasks on other nodes, or back to ACTIVE.
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

// MaxAttributes is the largest number of custom attributes of a container instance (ECS Developer Guide, "Quotas").
const MaxAttributes = 10

// PutAttributes sets custom attributes of a container instance.
func PutAttributes(tx *store.Tx, c ContainerInstance, attributes map[string]string) error {
	next := maps.Clone(c.Attributes)
	if next == nil {
		next = map[string]string{}
	}
	maps.Copy(next, attributes)
	if len(next) > MaxAttributes {
		return fault.New(fault.Limit, "attributes",
			"A container instance can have %d custom attributes; with these it would have %d.", MaxAttributes, len(next))
	}
	if !maps.Equal(next, c.Attributes) {
		c.Attributes = next
		PutInstance(tx, c)
	}
	return nil
}

// DeleteAttribute deletes a custom attribute of a container instance and reports whether it existed.
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

// ReactivateInstances makes a node an active container instance in every cluster from which it was deregistered. It is
// called when the node's server starts.
func ReactivateInstances(tx *store.Tx, node string) {
	instances.Scan(tx, "", "", func(key string, c *ContainerInstance) bool {
		if c.Node == node && c.Status == Inactive {
			instances.Delete(tx, key)
		}
		return true
	})
}

package task

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
)

// Overrides are what a standalone task changes of its definition (ECS API Reference, TaskOverride). Sent is as
// it came, for reading back; the rest is what this package's readers need of it.
type Overrides struct {
	CPU           int                          `json:",omitempty"` // of the whole task, in units; 0 keeps
	Memory        int                          `json:",omitempty"` // of the whole task, in MiB; 0 keeps
	TaskRole      string                       `json:",omitempty"` // "" keeps
	ExecutionRole string                       `json:",omitempty"`
	Containers    map[string]ContainerOverride `json:",omitempty"` // by the container's name
	Sent          json.RawMessage
}

// ContainerOverride is what changes of one container.
type ContainerOverride struct {
	Command           []string          `json:",omitempty"` // replaces; nil keeps
	Environment       map[string]string `json:",omitempty"` // is laid over
	EnvironmentFiles  []string          `json:",omitempty"` // replace; nil keeps
	CPU               int               `json:",omitempty"` // replaces; 0 keeps, as for the next two
	Memory            int               `json:",omitempty"`
	MemoryReservation int               `json:",omitempty"`
}

// Apply returns the definition as the task runs it. The argument stays as it is; nil overrides change nothing.
func (o *Overrides) Apply(d *Definition) *Definition {
	if o == nil {
		return d
	}
	next := *d
	if o.TaskRole != "" {
		next.TaskRole = o.TaskRole
	}
	next.CPU, next.Memory = cmp.Or(o.CPU, d.CPU), cmp.Or(o.Memory, d.Memory)
	next.Containers = append([]ContainerDefinition(nil), d.Containers...)
	for i := range next.Containers {
		c := &next.Containers[i]
		over, ok := o.Containers[c.Name]
		if !ok {
			continue
		}
		if over.Command != nil {
			c.Command = over.Command
		}
		if over.EnvironmentFiles != nil {
			c.EnvironmentFiles = over.EnvironmentFiles
		}
		c.CPU, c.Memory = cmp.Or(over.CPU, c.CPU), cmp.Or(over.Memory, c.Memory)
		c.MemoryReservation = cmp.Or(over.MemoryReservation, c.MemoryReservation)
		if len(over.Environment) > 0 {
			merged := maps.Clone(over.Environment)
			for name, value := range c.Environment {
				if _, replaced := merged[name]; !replaced {
					merged[name] = value
				}
			}
			c.Environment = merged
			c.Secrets = slices.DeleteFunc(slices.Clone(c.Secrets), func(s Secret) bool {
				_, replaced := over.Environment[s.Name]
				return replaced
			})
		}
	}
	return &next
}

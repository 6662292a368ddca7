package task

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
)

// Overrides holds the changes that a standalone task makes to its definition (ECS API Reference, TaskOverride). Sent is
// the member of the request as the client sent it, which the API returns. The other fields are derived from it.
type Overrides struct {
	CPU           int                          `json:",omitempty"` // of the whole task, in units; 0 means unchanged
	Memory        int                          `json:",omitempty"` // of the whole task, in MiB; 0 means unchanged
	TaskRole      string                       `json:",omitempty"` // "" means unchanged
	ExecutionRole string                       `json:",omitempty"`
	Containers    map[string]ContainerOverride `json:",omitempty"` // by container name
	Sent          json.RawMessage
}

// ContainerOverride holds the changes to one container.
type ContainerOverride struct {
	Command           []string          `json:",omitempty"` // replaces the command; nil means unchanged
	Environment       map[string]string `json:",omitempty"` // is merged into the environment
	EnvironmentFiles  []string          `json:",omitempty"` // replaces the files; nil means unchanged
	CPU               int               `json:",omitempty"` // 0 means unchanged, as for the next two
	Memory            int               `json:",omitempty"`
	MemoryReservation int               `json:",omitempty"`
}

// Apply returns the definition with the overrides applied. It does not change d, and returns d for nil overrides.
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

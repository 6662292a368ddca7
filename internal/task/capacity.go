package task

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// The capacity providers that are always there. All others are a label that tasks are reported with: every
// node takes tasks of each.
const (
	FargateProvider     = "FARGATE"
	FargateSpotProvider = "FARGATE_SPOT"
)

var providers = store.NewTable[CapacityProvider]("capacity provider", "task/provider/") // region/name

// CapacityProvider is one that a client has made.
type CapacityProvider struct {
	Account, Region string
	Name            string
	UpdateStatus    string `json:",omitempty"` // of the last change, as ECS spells it
	// Sent is the CreateCapacityProvider request with later updates laid over it.
	Sent    json.RawMessage
	Created time.Time
	Tags    map[string]string `json:",omitempty"`
}

// ARN is the capacity provider's ARN.
func (p *CapacityProvider) ARN() string {
	return ProviderARN(p.Scope(), p.Name)
}

// Scope is the partition the capacity provider lives in.
func (p *CapacityProvider) Scope() arn.Scope { return arn.Scope{Account: p.Account, Region: p.Region} }

// ProviderARN is the ARN of a capacity provider.
func ProviderARN(sc arn.Scope, name string) string {
	return ecsARN(sc, "capacity-provider/"+name)
}

// FindProvider finds a capacity provider that a client has made.
func FindProvider(r store.Reader, sc arn.Scope, name string) (*CapacityProvider, bool) {
	return providers.Find(r, providerKey(sc, name))
}

// PutProvider writes a capacity provider's row.
func PutProvider(tx *store.Tx, p CapacityProvider) {
	providers.Put(tx, providerKey(p.Scope(), p.Name), &p)
}

// ScanProviders calls fn with the capacity providers that clients have made in a region, behind the name
// after, by name.
func ScanProviders(r store.Reader, sc arn.Scope, after string, fn func(*CapacityProvider) bool) {
	if after != "" {
		after = providerKey(sc, after)
	}
	providers.Scan(r, sc.Prefix(), after, func(_ string, p *CapacityProvider) bool { return fn(p) })
}

// DeleteProvider removes a capacity provider that no cluster names.
func DeleteProvider(tx *store.Tx, sc arn.Scope, name string) error {
	var err error
	ScanClusters(tx, sc, "", func(c *Cluster) bool {
		for _, p := range c.Providers {
			if p == name && c.Status == Active {
				err = fault.New(fault.InUse, "capacity provider", "The capacity provider %s is associated with the cluster %s. "+
					"Remove it from the cluster first.", name, c.Name)
			}
		}
		return err == nil
	})
	if err == nil {
		providers.Delete(tx, providerKey(sc, name))
	}
	return err
}

// SetClusterProviders associates capacity providers with a cluster. One that a service or a task of it uses stays.
func SetClusterProviders(tx *store.Tx, c *Cluster, names []string) error {
	kept := map[string]bool{}
	for _, name := range names {
		kept[name] = true
	}
	gone := map[string]bool{}
	for _, name := range c.Providers {
		gone[name] = !kept[name]
	}
	var used string
	look := func(name string) bool {
		if gone[name] {
			used = name
		}
		return used == ""
	}
	ScanServices(tx, c.Ref(), "", func(s *Service) bool {
		for _, d := range s.Deployments {
			for _, item := range d.Strategy {
				if s.Status != Inactive && !look(item.Provider) {
					return false
				}
			}
		}
		return true
	})
	// Not compared: whoever starts a task reads the cluster's row, which is written below.
	ScanTasks(tx.Snapshot(), c.Ref(), "", func(t *Task) bool {
		return t.Observed.State == Stopped || look(t.CapacityProvider)
	})
	if used != "" {
		return fault.New(fault.InUse, "association", "The specified capacity provider is in use and cannot be removed.")
	}
	c.Providers = names
	return nil
}

// StrategyItem is one capacity provider of a strategy.
type StrategyItem struct {
	Provider string
	Base     int `json:",omitempty"` // so many tasks first
	Weight   int `json:",omitempty"` // its share of the others
}

// LaunchTypeOf is the launch type that tasks of a strategy are reported with.
func LaunchTypeOf(strategy []StrategyItem) string {
	for _, item := range strategy {
		if item.Provider == FargateProvider || item.Provider == FargateSpotProvider {
			return Fargate
		}
	}
	return EC2
}

// NextProvider is the capacity provider of the next task: bases come first, what is beyond them is shared in
// proportion to the weights. have counts the tasks that there are of each; "" is for no strategy.
func NextProvider(strategy []StrategyItem, have map[string]int) string {
	for _, item := range strategy {
		if have[item.Provider] < item.Base {
			return item.Provider
		}
	}
	best, found := StrategyItem{}, false
	share := func(item StrategyItem) int { return have[item.Provider] - item.Base + 1 } // if it gets this one
	for _, item := range strategy {
		// share(item)/item.Weight < share(best)/best.Weight, in whole numbers
		if item.Weight > 0 && (!found || share(item)*best.Weight < share(best)*item.Weight) {
			best, found = item, true
		}
	}
	return best.Provider
}

// TasksByProvider counts the live tasks of a service's deployment by their capacity providers.
func TasksByProvider(r store.Reader, svc *Service, d *Deployment) map[string]int {
	have := map[string]int{}
	if len(d.Strategy) == 0 {
		return have
	}
	for _, t := range TasksOf(r, svc.Ref()) {
		if t.Deployment == d.ID && t.Live() {
			have[t.CapacityProvider]++
		}
	}
	return have
}

// ReservedProvider reports whether AWS keeps a capacity provider's name to itself.
func ReservedProvider(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "aws") || strings.HasPrefix(name, "ecs") || strings.HasPrefix(name, "fargate")
}

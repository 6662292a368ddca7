package task

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// The capacity providers that always exist. A capacity provider appears in the description of a task and has no other
// effect: every node runs tasks of each.
const (
	FargateProvider     = "FARGATE"
	FargateSpotProvider = "FARGATE_SPOT"
)

var providers = store.NewTable[CapacityProvider]("capacity provider", "task/provider/") // region/name

// CapacityProvider is a capacity provider that a client has created.
type CapacityProvider struct {
	Account, Region string
	Name            string
	UpdateStatus    string `json:",omitempty"` // the status of the last update, as ECS spells it
	// Sent is the CreateCapacityProvider request with later updates merged into it.
	Sent    json.RawMessage
	Created time.Time
	Tags    map[string]string `json:",omitempty"`
}

// ARN returns the ARN of the capacity provider.
func (p *CapacityProvider) ARN() string {
	return ProviderARN(p.Scope(), p.Name)
}

// Scope returns the account and region of the capacity provider.
func (p *CapacityProvider) Scope() arn.Scope { return arn.Scope{Account: p.Account, Region: p.Region} }

// ProviderARN returns the ARN of a capacity provider.
func ProviderARN(sc arn.Scope, name string) string {
	return ecsARN(sc, "capacity-provider/"+name)
}

// FindProvider returns a capacity provider that a client has created, if it exists.
func FindProvider(r store.Reader, sc arn.Scope, name string) (*CapacityProvider, bool) {
	return providers.Find(r, providerKey(sc, name))
}

// PutProvider writes the row of a capacity provider.
func PutProvider(tx *store.Tx, p CapacityProvider) {
	providers.Put(tx, providerKey(p.Scope(), p.Name), &p)
}

// ScanProviders calls fn with the capacity providers of a region that clients have created and whose names are greater
// than after, in the order of their names, until fn returns false.
func ScanProviders(r store.Reader, sc arn.Scope, after string, fn func(*CapacityProvider) bool) {
	if after != "" {
		after = providerKey(sc, after)
	}
	providers.Scan(r, sc.Prefix(), after, func(_ string, p *CapacityProvider) bool { return fn(p) })
}

// DeleteProvider deletes a capacity provider that is associated with no active cluster.
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

// SetClusterProviders replaces the capacity providers of a cluster. It returns an InUse error if a service or task of
// the cluster uses a provider that would be removed.
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
	// The tasks need no comparison at commit: a transaction that starts a task reads the cluster's row, which the caller
	// writes.
	ScanTasks(tx.Snapshot(), c.Ref(), "", func(t *Task) bool {
		return t.Observed.State == Stopped || look(t.CapacityProvider)
	})
	if used != "" {
		return fault.New(fault.InUse, "association", "The specified capacity provider is in use and cannot be removed.")
	}
	c.Providers = names
	return nil
}

// StrategyItem is one capacity provider of a capacity provider strategy.
type StrategyItem struct {
	Provider string
	Base     int `json:",omitempty"` // the number of tasks that it gets before weights apply
	Weight   int `json:",omitempty"` // its share of the remaining tasks
}

// LaunchTypeOf returns the launch type of the tasks of a strategy.
func LaunchTypeOf(strategy []StrategyItem) string {
	for _, item := range strategy {
		if item.Provider == FargateProvider || item.Provider == FargateSpotProvider {
			return Fargate
		}
	}
	return EC2
}

// NextProvider returns the capacity provider of the next task. It fills the bases first and then distributes tasks in
// proportion to the weights. have is the number of tasks that each provider already has. Without a strategy, it returns
// "".
func NextProvider(strategy []StrategyItem, have map[string]int) string {
	for _, item := range strategy {
		if have[item.Provider] < item.Base {
			return item.Provider
		}
	}
	best, found := StrategyItem{}, false
	share := func(item StrategyItem) int { return have[item.Provider] - item.Base + 1 } // with the next task
	for _, item := range strategy {
		// share(item)/item.Weight < share(best)/best.Weight, in whole numbers
		if item.Weight > 0 && (!found || share(item)*best.Weight < share(best)*item.Weight) {
			best, found = item, true
		}
	}
	return best.Provider
}

// TasksByProvider returns the number of live tasks of a deployment for each capacity provider. It is empty for a
// deployment without a strategy.
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

// ReservedProvider reports whether AWS reserves a name, so that clients cannot create a capacity provider with it.
func ReservedProvider(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "aws") || strings.HasPrefix(name, "ecs") || strings.HasPrefix(name, "fargate")
}

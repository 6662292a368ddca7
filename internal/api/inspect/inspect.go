// Package inspect is Rollcall's own small API, beside AWS's: it explains a DNS answer, instance by instance,
// and shows at a glance what runs. `rollcall lookup`, `rollcall status` and `rollcall logs` are its users ([Client]); it is
// signed and authorised like every other.
//
//	inspect.go   the operations and their shapes
//	lookup.go    Lookup: what DNS answers, and why
//	status.go    Status: clusters, services, namespaces, nodes
//	logs.go      Logs: what tasks have printed
//	client.go    the commands' side
//
// It decides nothing: answers come from dns/answer, states from the directory, times and causes from the
// registry's rows.
package inspect

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// targetPrefix and signingName are what AWS's APIs have too.
const (
	targetPrefix = "Rollcall_v1"
	signingName  = "rollcall"
)

type api struct {
	db    *store.Store
	dns   *answer.Authority
	logs  *containerlog.Catalog
	notes func() []string
}

// New makes the API. notes are what this node has to say of itself.
func New(db *store.Store, dir *directory.Directory, logs *containerlog.Catalog, notes func() []string) *awsapi.Service {
	a := &api{db: db, dns: &answer.Authority{Directory: dir}, logs: logs, notes: notes}
	s := &awsapi.Service{TargetPrefix: targetPrefix, SigningName: signingName, Naming: awsapi.UpperCamel, ErrorOf: wireError}
	awsapi.Handle(s, a.getLookup)
	awsapi.Handle(s, a.getStatus)
	awsapi.Handle(s, a.getLogs)
	return s
}

// wireErrors is the table from the domain's faults to this API's errors.
var wireErrors = awsapi.Errors{
	fault.Invalid: {
		"": func(f *fault.Error) error { return &awsapi.Error{Code: "InvalidInput", Message: f.Msg} },
	},
}

// wireError translates the errors of log files and the faults of the domain.
func wireError(err error) error {
	if errors.Is(err, containerlog.ErrBusy) {
		return &awsapi.Error{Code: "ServiceUnavailable", Message: "A log is being cut; ask again.", Status: http.StatusServiceUnavailable}
	}
	return wireErrors.Translate(err)
}

// GetLookupInput asks for an explanation.
type GetLookupInput struct {
	Name   string
	Type   string // A unless given
	Client string // the address that asks; 127.0.0.1 unless given
}

// GetLookupOutput is what DNS answers, and why.
type GetLookupOutput struct {
	Rcode   string // NOERROR, NXDOMAIN, REFUSED, FORWARDED
	Answer  []Record
	Notes   []string // what keeps the question from a service, and what a reader should know
	Service *Service // nil when no service stands at the name
}

// Record is one record of an answer, in presentation format.
type Record struct {
	Name, Type, Value string
	TTL               int64 // seconds
}

// Service is the service at a name.
type Service struct {
	Namespace, Name, ID string
	Instances           []Instance
}

// Instance is one instance of it and its part in the answer.
type Instance struct {
	ID      string
	Address string
	In      bool
	Why     string
	Changed *time.Time
}

// GetStatusInput asks for everything at a glance.
type GetStatusInput struct {
	All bool // every service of every namespace, however many there are
}

// GetStatusOutput is everything at a glance. Regions are shown together.
type GetStatusOutput struct {
	Revision   int64
	Stale      *time.Time // since when the state has been without etcd
	Notes      []string   // of the node that was asked: what does not work there, or is under way
	Nodes      []Node
	Services   []ServiceStatus
	Namespaces []NamespaceStatus
}

// Node is a machine and how many tasks it has.
type Node struct {
	Name, Runtime string
	Tasks         int64
}

// ServiceStatus is an ECS service.
type ServiceStatus struct {
	Region, Cluster, Name, Status       string
	Desired, Running, Healthy, Draining int64
	Updated                             int64  // healthy ones of its primary deployment
	Rollout                             string // of its primary deployment
	Definition                          string
	Since                               *time.Time // the rollout's last step
	Event                               string     // its newest
	Drains                              []Drain
}

// Drain is a task on its way out: in no answer any more, and not told to stop yet.
type Drain struct {
	Task, Address string
	// Left is how many seconds it takes at least until the last answer with its address has expired, as far as
	// the node that tells gave it.
	Left int64
}

// NamespaceStatus is a Cloud Map namespace.
type NamespaceStatus struct {
	Region, Name, ID, Kind string
	Services               int64
	Counts                 Counts // of all its services
	// Listed are its services by name; of many, unless All is asked for, those to look at first ([listed]).
	Listed []RegisteredService
	// Shadowed says which older namespace of the same name answers the same clients instead.
	Shadowed string
}

// RegisteredService is a Cloud Map service.
type RegisteredService struct {
	Name, ID string
	Counts   Counts
}

// Counts are instances by their states; each instance is in one of the four.
type Counts struct {
	Healthy, Unhealthy, NotReady, Draining int64
}

// Instances is how many there are in all.
func (c Counts) Instances() int64 { return c.Healthy + c.Unhealthy + c.NotReady + c.Draining }

func (a *api) getLookup(_ context.Context, in *GetLookupInput) (*GetLookupOutput, error) {
	client := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if in.Client != "" {
		var err error
		if client, err = netip.ParseAddr(in.Client); err != nil {
			return nil, fault.New(fault.Invalid, "input", "The client %q is no IP address", in.Client)
		}
	}
	return a.lookup(in.Name, in.Type, client)
}

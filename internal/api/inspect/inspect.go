// Package inspect is Rollcall's own API, in addition to AWS's. It explains a DNS answer instance by instance, returns
// an overview of the state, and reads logs. The commands `rollcall lookup`, `rollcall status` and `rollcall logs` call
// it ([Client]). Its requests are signed and authorized like all others.
//
//	inspect.go   the operations, and the types of their inputs and outputs
//	lookup.go    Lookup: what DNS answers, and why
//	status.go    Status: nodes, ECS services, namespaces
//	logs.go      Logs: the lines that tasks have printed
//	client.go    the client
//
// It makes no decisions: answers come from dns/answer, states from the directory, and times and causes from the
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

// targetPrefix and signingName identify the API in requests, as for AWS's APIs.
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

// New returns the API. notes returns this node's notes for the user.
func New(db *store.Store, dir *directory.Directory, logs *containerlog.Catalog, notes func() []string) *awsapi.Service {
	a := &api{db: db, dns: &answer.Authority{Directory: dir}, logs: logs, notes: notes}
	s := &awsapi.Service{TargetPrefix: targetPrefix, SigningName: signingName, Naming: awsapi.UpperCamel,
		ErrorOf: wireError}
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

// wireError translates errors of log files and faults of the domain.
func wireError(err error) error {
	if errors.Is(err, containerlog.ErrBusy) {
		return &awsapi.Error{Code: "ServiceUnavailable", Message: "A log is being truncated; try again.",
			Status: http.StatusServiceUnavailable}
	}
	return wireErrors.Translate(err)
}

func invalid(format string, args ...any) error {
	return fault.New(fault.Invalid, "input", format, args...)
}

// GetLookupInput is a DNS question to explain.
type GetLookupInput struct {
	Name   string
	Type   string // default: A
	Client string // the client's address; default: 127.0.0.1
}

// GetLookupOutput is the answer of DNS, with reasons.
type GetLookupOutput struct {
	Rcode   string // NOERROR, NXDOMAIN, REFUSED, FORWARDED
	Answer  []Record
	Notes   []string // why no service answers, and remarks for the reader
	Service *Service // nil if no service has the name
}

// Record is a record of an answer, in presentation format.
type Record struct {
	Name, Type, Value string
	TTL               int64 // in seconds
}

// Service is the service that has the name.
type Service struct {
	Namespace, Name, ID string
	Instances           []Instance
}

// Instance is an instance of the service, and whether and why it is in the answer.
type Instance struct {
	ID      string
	Address string
	In      bool
	Why     string
	Changed *time.Time
}

// GetStatusInput selects the parts of the overview.
type GetStatusInput struct {
	All bool // list all services of each namespace, however many it has
}

// GetStatusOutput is the overview. It covers all regions.
type GetStatusOutput struct {
	Revision   int64
	Stale      *time.Time // time since which the state has not been updated from etcd
	Notes      []string   // of this node: problems, and work in progress
	Nodes      []Node
	Services   []ServiceStatus
	Namespaces []NamespaceStatus
}

// Node is a node and the number of its tasks.
type Node struct {
	Name, Runtime string
	Tasks         int64
}

// ServiceStatus is the status of an ECS service.
type ServiceStatus struct {
	Region, Cluster, Name, Status       string
	Desired, Running, Healthy, Draining int64
	Updated                             int64  // number of healthy tasks of the primary deployment
	Rollout                             string // of the primary deployment
	Definition                          string
	Since                               *time.Time // last progress of the rollout
	Event                               string     // the newest event
	Drains                              []Drain
}

// Drain is a task that no answer contains any more and that has not received SIGTERM yet.
type Drain struct {
	Task, Address string
	// Left is the shortest time in seconds until the last answer with the task's address expires, considering the
	// answers of this node only.
	Left int64
}

// NamespaceStatus is the status of a Cloud Map namespace.
type NamespaceStatus struct {
	Region, Name, ID, Kind string
	Services               int64
	Counts                 Counts // of all its services
	// Listed is the list of services by name. If the namespace has many services and All is not set, the list contains
	// those with the most problems ([listed]).
	Listed []RegisteredService
	// Shadowed is the id of the older namespace with the same name that answers the same clients instead.
	Shadowed string
}

// RegisteredService is a Cloud Map service.
type RegisteredService struct {
	Name, ID string
	Counts   Counts
}

// Counts is the number of instances in each state.
type Counts struct {
	Healthy, Unhealthy, NotReady, Draining int64
}

// Instances returns the total number of instances.
func (c Counts) Instances() int64 { return c.Healthy + c.Unhealthy + c.NotReady + c.Draining }

func (a *api) getLookup(_ context.Context, in *GetLookupInput) (*GetLookupOutput, error) {
	client := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if in.Client != "" {
		var err error
		if client, err = netip.ParseAddr(in.Client); err != nil {
			return nil, invalid("The client %q is not an IP address", in.Client)
		}
	}
	return a.lookup(in.Name, in.Type, client)
}

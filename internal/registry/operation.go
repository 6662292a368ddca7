package registry

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// OperationType is the type of an operation, as Cloud Map spells it.
type OperationType string

// The operation types.
const (
	CreateNamespaceOp    OperationType = "CREATE_NAMESPACE"
	DeleteNamespaceOp    OperationType = "DELETE_NAMESPACE"
	UpdateNamespaceOp    OperationType = "UPDATE_NAMESPACE"
	UpdateServiceOp      OperationType = "UPDATE_SERVICE"
	RegisterInstanceOp   OperationType = "REGISTER_INSTANCE"
	DeregisterInstanceOp OperationType = "DEREGISTER_INSTANCE"
)

// Targets are the ids of the resources that an operation changed.
type Targets struct {
	Namespace string `json:",omitempty"`
	Service   string `json:",omitempty"`
	Instance  string `json:",omitempty"`
}

// Operation is the result of a call that is asynchronous at AWS. Here it has finished when the call returns.
type Operation struct {
	Account, Region string
	ID              string
	Type            OperationType
	ErrorCode       string `json:",omitempty"` // empty for success
	ErrorMessage    string `json:",omitempty"`
	Created         time.Time
	NamespaceID     string // the namespace in which it happened
	Targets         Targets
}

func newOperation(sc arn.Scope, t OperationType, namespace string, targets Targets, call Call) *Operation {
	return &Operation{
		Account: sc.Account, Region: sc.Region, ID: call.operationID(t, targets), Type: t, Created: call.Time,
		NamespaceID: namespace, Targets: targets,
	}
}

func (o *Operation) fail(code, message string) { o.ErrorCode, o.ErrorMessage = code, message }

// operationKey returns the key of an operation's row. It orders the operations of a region by their creation times,
// which are in their ids.
func operationKey(sc arn.Scope, id string) (string, bool) {
	_, suffix, ok := strings.Cut(id, "-")
	ms, err := strconv.ParseInt(suffix, 36, 64)
	if !ok || err != nil || ms < 0 {
		return "", false
	}
	return sc.Key(fmt.Sprintf("%013d", ms), id), true
}

func putOperation(tx *store.Tx, op *Operation) {
	key, _ := operationKey(arn.Scope{Account: op.Account, Region: op.Region}, op.ID)
	operations.Put(tx, key, op)
}

func findOperation(r store.Reader, sc arn.Scope, id string) (*Operation, bool) {
	key, ok := operationKey(sc, id)
	if !ok {
		return nil, false
	}
	return operations.Find(r, key)
}

// GetOperation returns the operation with an id, or a NotFound error.
func GetOperation(r store.Reader, sc arn.Scope, id string) (*Operation, error) {
	op, ok := findOperation(r, sc, id)
	if !ok {
		return nil, fault.New(fault.NotFound, "operation", "Failed to find operation: %s", id)
	}
	return op, nil
}

// ScanOperations calls fn with the operations of a region that are older than the operation with the id before, newest
// first, until fn returns false. An empty before begins with the newest. As at AWS, it skips the operations of deleted
// namespaces, which GetOperation still returns.
func ScanOperations(s *store.Snapshot, sc arn.Scope, before string, fn func(*Operation) bool) {
	if before != "" {
		key, ok := operationKey(sc, before)
		if !ok {
			return
		}
		before = key
	}
	operations.ScanReverse(s, sc.Prefix(), before, func(_ string, op *Operation) bool {
		if _, err := GetNamespace(s, sc, op.NamespaceID); err != nil && (op.Type != CreateNamespaceOp || op.ErrorCode == "") {
			return true
		}
		return fn(op)
	})
}

// OperationRetention and MaxOperations bound the age and the number of the operations that are kept.
const (
	OperationRetention = 24 * time.Hour
	MaxOperations      = 100_000 // of a region
)

// ReapOperations deletes up to limit operations, oldest first, that are older than OperationRetention or exceed
// MaxOperations. It reports whether more such operations remain.
func ReapOperations(tx *store.Tx, region string, now time.Time, limit int) (more bool) {
	under := arn.Scope{Region: region}.Prefix()
	surplus := -MaxOperations
	operations.Scan(tx.Snapshot(), under, "", func(string, *Operation) bool { surplus++; return true })
	horizon := now.Add(-OperationRetention)
	return operations.Sweep(tx, under, limit, func(op *Operation) store.SweepAction {
		if surplus <= 0 && op.Created.After(horizon) {
			return store.SweepStop // all later ones are younger
		}
		surplus--
		return store.SweepDelete
	})
}

// Regions returns the regions that have operations.
func Regions(r store.Reader) []string {
	var regions []string
	for after := ""; ; {
		next := ""
		operations.Scan(r, "", after, func(key string, _ *Operation) bool {
			next, _, _ = strings.Cut(key, "/")
			return false
		})
		if next == "" {
			return regions
		}
		regions = append(regions, next)
		after = next + "/\xff" // greater than the key of every operation of the region
	}
}

// ReapTokens deletes up to limit creator tokens that have expired. It reports whether more such tokens remain.
func ReapTokens(tx *store.Tx, now time.Time, limit int) (more bool) {
	return tokens.Sweep(tx, "", limit, func(t *Token) store.SweepAction {
		if now.Sub(t.At) >= tokenLife {
			return store.SweepDelete
		}
		return store.SweepKeep
	})
}

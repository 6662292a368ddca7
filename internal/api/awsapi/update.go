package awsapi

import (
	"context"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/store"
)

// ScopeFrom returns the account and the region whose rows a call reads and writes.
func ScopeFrom(ctx context.Context) arn.Scope {
	c := CallerFrom(ctx)
	return arn.Scope{Account: c.Account, Region: c.Region}
}

// Update runs fn in the transaction of a call ([store.Update]). fn can run again after a conflict, so it must have no
// effects except those on tx.
//
// If the outcome of the commit is unknown, the SDK repeats the call under the same invocation id. The repetition
// returns the result of the first attempt if that attempt was committed after all.
func Update[R any](ctx context.Context, db *store.Store, fn func(tx *store.Tx) (R, error)) (R, error) {
	return store.Update(withInvocation(ctx), db, fn)
}

// UpdateSerialized is [Update] for transactions that would conflict with each other: this process runs the transactions
// of one queue one at a time ([store.UpdateSerialized]).
func UpdateSerialized[R any](
	ctx context.Context, db *store.Store, queue string, fn func(tx *store.Tx) (R, error),
) (R, error) {
	return store.UpdateSerialized(withInvocation(ctx), db, queue, fn)
}

// withInvocation returns a context under which the store recognizes a repeated call. Clients choose their invocation
// ids, so the access key is part of the key: a caller never receives the result of another caller's call.
func withInvocation(ctx context.Context) context.Context {
	c := CallerFrom(ctx)
	if c.InvocationID == "" {
		return ctx
	}
	return store.WithInvocation(ctx, c.AccessKeyID+"/"+c.InvocationID)
}

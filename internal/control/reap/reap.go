// Package reap deletes rows that are kept for a limited time only: finished operations, creator tokens, stopped tasks,
// deleted ECS services, and task definitions that are being deleted and are no longer used.
//
// Packages task and registry know how long each kind of row is kept and delete a batch of them in a transaction. reap
// calls them once a minute, on the leader. Start reading at deleteExpired.
package reap

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// interval is the time between two runs.
const interval = time.Minute

// batch is the maximum number of rows that one transaction deletes. It is large because each transaction scans all
// rows, and smaller than the limit of etcd's transactions.
const batch = 4000

// Run deletes expired rows once per interval until ctx is done. The next run retries a deletion that failed.
func Run(ctx context.Context, db *store.Store, log *slog.Logger) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := deleteExpired(ctx, db, time.Now(), batch); err != nil && ctx.Err() == nil {
			log.Warn("failed to delete expired rows; will retry in a minute", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// deleteExpired deletes all rows that have expired by now, up to batch rows per transaction.
func deleteExpired(ctx context.Context, db *store.Store, now time.Time, batch int) error {
	reapers := []func(*store.Tx) bool{
		func(tx *store.Tx) bool { return task.ReapTasks(tx, now, batch) },
		func(tx *store.Tx) bool { return task.ReapServices(tx, now, max(batch/task.MaxEvents, 1)) },
		func(tx *store.Tx) bool { return task.ReapDefinitions(tx, batch) },
		func(tx *store.Tx) bool { return registry.ReapTokens(tx, now, batch) },
	}
	for _, region := range registry.Regions(db.Snapshot()) {
		reapers = append(reapers, func(tx *store.Tx) bool { return registry.ReapOperations(tx, region, now, batch) })
	}
	var errs []error
	for _, reap := range reapers {
		for more, err := true, error(nil); more && err == nil; {
			more, err = store.Update(ctx, db, func(tx *store.Tx) (bool, error) { return reap(tx), nil })
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

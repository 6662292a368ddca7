// Package reap deletes what has been kept long enough: finished operations, stopped tasks, deleted services,
// and task definitions that were to be deleted and that nothing uses any more.
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

// every is how often the loop looks; batch is how many rows one transaction deletes: many, since each looks at
// all rows again, and fewer than a transaction holds.
const (
	every = time.Minute
	batch = 4000
)

// Run reaps until ctx ends. What a pass could not delete, because etcd is out of reach, is left to the next.
func Run(ctx context.Context, db *store.Store, log *slog.Logger) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := Pass(ctx, db, time.Now()); err != nil && ctx.Err() == nil {
			log.Warn("old rows could not be deleted and are tried again in a minute", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Pass deletes everything whose time has come.
func Pass(ctx context.Context, db *store.Store, now time.Time) error {
	reapers := []func(*store.Tx) bool{
		func(tx *store.Tx) bool { return task.ReapTasks(tx, now, batch) },
		func(tx *store.Tx) bool { return task.ReapServices(tx, now, batch/task.MaxEvents) },
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

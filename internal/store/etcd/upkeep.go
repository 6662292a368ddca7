package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/schema"
)

const (
	// keepRevisions is how many of the newest revisions a compaction leaves, for watches that lag.
	keepRevisions = 10_000

	// Compaction walks the whole key index, so it comes with a lot of change (100,000 revisions, at most every
	// 30 s) or with time (5 min). etcd's own compactors go by one or the other, every five minutes: at 30,000
	// writes a second that is 9 million revisions, several GB, between two runs.
	compactRevisions = 100_000
	compactSoonest   = 30 * time.Second
	compactLatest    = 5 * time.Minute

	// Defragmentation copies the database while nobody can write. bbolt uses free pages again, so it is done
	// only between two engines: at a start that would win this much, and after the NOSPACE alarm.
	startDefragBytes = 256 << 20
)

// upkeep keeps the history short and lifts the NOSPACE alarm. It runs on a goroutine of its own.
type upkeep struct {
	compacted   int64 // the revision up to which history is gone
	compactedAt time.Time
}

// run tends e while it lives.
func (u *upkeep) run(e *engine) {
	t := time.NewTicker(4 * look)
	defer t.Stop()
	u.compactedAt = time.Now()
	for {
		if err := u.once(e.life, e); err != nil && e.failure() == nil {
			e.log.Warn("etcd upkeep did not succeed; it is tried again", "error", err, "dir", e.dir)
		}
		select {
		case <-e.life.Done():
			return
		case <-t.C:
		}
	}
}

func (u *upkeep) once(ctx context.Context, e *engine) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	head, err := e.client.Get(ctx, "\x00", clientv3.WithCountOnly(), clientv3.WithSerializable())
	if err != nil {
		return fmt.Errorf("ask for the revision: %w", err)
	}
	rev := head.Header.Revision
	if e.noSpace() {
		return u.makeSpace(ctx, e, rev)
	}
	e.overQuota.Store(nil)
	if u.compacted == 0 {
		u.compacted = rev // what came before this start is not worth a walk
	}
	if to := compactTo(rev, u.compacted, time.Since(u.compactedAt)); to > 0 {
		return u.compact(ctx, e, to)
	}
	return nil
}

// compactTo returns the revision to compact to, or 0 for not now.
func compactTo(rev, compacted int64, since time.Duration) int64 {
	to := rev - keepRevisions
	switch {
	case to <= compacted:
		return 0
	case to-compacted >= compactRevisions && since >= compactSoonest, since >= compactLatest:
		return to
	}
	return 0
}

func (u *upkeep) compact(ctx context.Context, e *engine, to int64) error {
	_, err := e.client.Compact(ctx, to, clientv3.WithCompactPhysical())
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) { // by an engine before this one
		return fmt.Errorf("compact to revision %d: %w", to, err)
	}
	u.compacted, u.compactedAt = to, time.Now()
	e.trim() // a compaction reads every page
	return nil
}

// errDefrag ends an engine so that its database is defragmented before the next one.
var errDefrag = errors.New("the database reached its size limit and is being defragmented")

// makeSpace answers the NOSPACE alarm, under which etcd takes only deletions: drop the history, defragment, and
// lift the alarm once the file is below the limit.
func (u *upkeep) makeSpace(ctx context.Context, e *engine, rev int64) error {
	be := e.server.Backend()
	if roomy(be.Size(), e.quota) {
		alarm := &clientv3.AlarmMember{Alarm: pb.AlarmType_NOSPACE, MemberID: uint64(e.server.MemberID())}
		if _, err := e.client.AlarmDisarm(ctx, alarm); err != nil {
			return fmt.Errorf("lift the NOSPACE alarm: %w", err)
		}
		e.overQuota.Store(nil)
		e.log.Info("the etcd database is below its size limit again", "size", be.Size(), "limit", e.quota)
		return nil
	}
	if rev > u.compacted {
		if err := u.compact(ctx, e, rev); err != nil {
			return err
		}
	}
	freshen(be)
	remedy := "delete what is no longer needed"
	if roomy(be.SizeInUse(), e.quota) {
		d, err := diskOf(e.dir)
		if err != nil {
			return err
		}
		if startDefrag(be.Size(), d.free, e.space.reserve, true) > 0 {
			e.fail(errDefrag)
			return nil
		}
		short := be.Size() + e.space.reserve - d.free
		remedy = fmt.Sprintf("free %s on the disk, so that it can be defragmented", humanize.IBytes(uint64(short)))
	}
	err := e.atLimit(remedy)
	e.overQuota.Store(&err)
	return nil
}

// freshen makes be.SizeInUse count the pages that the last deletions gave up. bbolt counts them from the second
// transaction after that one on, and under the NOSPACE alarm nobody else makes any; this one changes nothing.
func freshen(be backend.Backend) {
	for range 2 {
		tx := be.BatchTx()
		tx.LockOutsideApply()
		tx.UnsafeCreateBucket(schema.Meta) // which exists
		tx.Unlock()
		be.ForceCommit()
	}
}

// roomy tells whether a database of this size is far enough below its limit for the alarm to be lifted.
func roomy(size, quota int64) bool { return size < quota-quota/8 }

// startDefrag returns the free bytes from which on the database is defragmented at a start, 0 for never: it is
// a copy, and so needs space for it.
func startDefrag(size, diskFree, reserve int64, full bool) int64 {
	switch {
	case diskFree-size < reserve:
		return 0
	case full:
		return 1 << 20
	}
	return startDefragBytes
}

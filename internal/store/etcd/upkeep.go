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
	// keepRevisions is the number of the latest revisions that a compaction keeps, for watches that lag.
	keepRevisions = 10_000

	// A compaction traverses the whole key index, so it runs after many changes (100,000 revisions, at most every 30 s)
	// or after a long time (5 min). etcd's own compactors run every five minutes: at 30,000 writes per second, 9
	// million revisions, which are several GB, would accumulate between two runs.
	compactRevisions = 100_000
	compactSoonest   = 30 * time.Second
	compactLatest    = 5 * time.Minute

	// Defragmentation copies the database while writes are blocked. bbolt reuses free pages, so defragmentation is
	// rarely needed. It runs only between two engines: at a start, if it frees this much space, and after the NOSPACE
	// alarm.
	startDefragBytes = 256 << 20
)

// upkeep compacts the history and handles the NOSPACE alarm. It runs on a separate goroutine.
type upkeep struct {
	compacted   int64 // the revision up to which the history has been compacted
	compactedAt time.Time
}

// run maintains e until e fails.
func (u *upkeep) run(e *engine) {
	t := time.NewTicker(4 * checkInterval)
	defer t.Stop()
	u.compactedAt = time.Now()
	for {
		if err := u.runOnce(e.ctx, e); err != nil && e.failure() == nil {
			e.log.Warn("etcd upkeep failed; retrying", "err", err, "dir", e.dir)
		}
		select {
		case <-e.ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (u *upkeep) runOnce(ctx context.Context, e *engine) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	head, err := e.client.Get(ctx, "\x00", clientv3.WithCountOnly(), clientv3.WithSerializable())
	if err != nil {
		return fmt.Errorf("read the revision: %w", err)
	}
	rev := head.Header.Revision
	if e.hasSpaceAlarm() {
		return u.makeSpace(ctx, e, rev)
	}
	e.overQuota.Store(nil)
	if u.compacted == 0 {
		u.compacted = rev // compacting the earlier history alone is not worth it; the next compaction includes it
	}
	if to := compactTo(rev, u.compacted, time.Since(u.compactedAt)); to > 0 {
		return u.compact(ctx, e, to)
	}
	return nil
}

// compactTo returns the revision to compact to, or 0 if no compaction is due.
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
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) { // a previous engine has compacted it
		return fmt.Errorf("compact to revision %d: %w", to, err)
	}
	u.compacted, u.compactedAt = to, time.Now()
	e.trim() // a compaction reads every page
	return nil
}

// errDefrag is the failure of an engine whose database must be defragmented before the next start.
var errDefrag = errors.New("the database reached its size limit and is being defragmented")

// makeSpace handles the NOSPACE alarm, under which etcd accepts only deletions. It compacts the history, makes the
// engine restart with a defragmentation, and disarms the alarm when the file is below its limit.
func (u *upkeep) makeSpace(ctx context.Context, e *engine, rev int64) error {
	be := e.server.Backend()
	if belowLimit(be.Size(), e.quota) {
		alarm := &clientv3.AlarmMember{Alarm: pb.AlarmType_NOSPACE, MemberID: uint64(e.server.MemberID())}
		if _, err := e.client.AlarmDisarm(ctx, alarm); err != nil {
			return fmt.Errorf("disarm the NOSPACE alarm: %w", err)
		}
		e.overQuota.Store(nil)
		e.log.Info("etcd database is below its size limit again; accepting writes", "size", be.Size(), "limit", e.quota)
		return nil
	}
	if rev > u.compacted {
		if err := u.compact(ctx, e, rev); err != nil {
			return err
		}
	}
	refreshSizeInUse(be)
	remedy := "delete what is no longer needed"
	if belowLimit(be.SizeInUse(), e.quota) {
		d, err := diskOf(e.dir)
		if err != nil {
			return err
		}
		if startDefrag(be.Size(), d.free, e.space.reserve, true) > 0 {
			e.fail(errDefrag)
			return nil
		}
		missing := be.Size() + e.space.reserve - d.free
		remedy = fmt.Sprintf("free %s of disk space, so that it can be defragmented", humanize.IBytes(uint64(missing)))
	}
	err := e.atLimit(remedy)
	e.overQuota.Store(&err)
	return nil
}

// refreshSizeInUse makes be.SizeInUse exclude the pages that the last deletions have freed. bbolt updates the number in
// the second transaction after the deletion, and no other transactions take place under the NOSPACE alarm. These two
// transactions change nothing.
func refreshSizeInUse(be backend.Backend) {
	for range 2 {
		tx := be.BatchTx()
		tx.LockOutsideApply()
		tx.UnsafeCreateBucket(schema.Meta) // exists already
		tx.Unlock()
		be.ForceCommit()
	}
}

// belowLimit reports whether a database of this size is far enough below its limit to disarm the alarm.
func belowLimit(size, quota int64) bool { return size < quota-quota/8 }

// startDefrag returns the number of free bytes in the database at which a start defragments it. It returns 0, which
// disables defragmentation, if the disk lacks the space for the copy that it makes.
func startDefrag(size, diskFree, reserve int64, full bool) int64 {
	switch {
	case diskFree-size < reserve:
		return 0
	case full:
		return 1 << 20
	}
	return startDefragBytes
}

package etcd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

// Disk space is allocated before it is needed, because space that is merely free can be used by another program between
// two checks:
//
//   - etcd itself keeps an unused WAL segment (64 MB) in addition to the current one. If this spare segment is missing,
//     the disk was too full to create it.
//   - The blocks into which the database file will grow are allocated beyond its end (fallocate without a change of the
//     size), so that a commit does not meet a full disk. If the file system does not support this, the same amount must
//     be free.
//   - In addition, a reserve must stay free for the next spare segment and for snapshots. If less is free, writes are
//     rejected.
const (
	maxAhead   = 32 << 20  // allocated beyond the end of the database
	maxReserve = 128 << 20 // must stay free: two WAL segments

	// On a small disk, both are a fraction of its size, with these minimums.
	aheadShare, minAhead     = 32, 4 << 20
	reserveShare, minReserve = 16, 8 << 20

	// A commit writes changed pages to new locations before it frees the old ones, so the database may grow by a
	// multiple of the data written. The space is checked again after 1/admitShare of ahead has been admitted.
	admitShare = 8
)

// headroom checks and reserves disk space for one data folder.
type headroom struct {
	dir            string
	ahead, reserve int64

	admitted atomic.Int64 // bytes of write requests since the last check

	mu          sync.Mutex
	low         bool      // the last check found too little space
	spareSeen   time.Time // the last time at which the WAL had a spare segment
	db          *os.File
	reservedEnd int64 // the database file's blocks are allocated up to here
	unreserved  bool  // the file system cannot reserve blocks
}

// openHeadroom returns the headroom of a folder, or an error if the disk is too full to start an engine.
func openHeadroom(dir string) (*headroom, error) {
	d, err := diskOf(dir)
	if err != nil {
		return nil, err
	}
	h := &headroom{dir: dir, spareSeen: time.Now()}
	h.ahead, h.reserve = reservationSizes(d.total)
	if need := spaceToStart(dir, h.reserve); d.free < need {
		return nil, diskFullError(dir, d.free, need, "free some space")
	}
	return h, nil
}

// reservationSizes returns the number of bytes to allocate beyond the end of the database, and the number that must
// stay free, for a disk of a total size.
func reservationSizes(total int64) (ahead, reserve int64) {
	return min(max(total/aheadShare, minAhead), maxAhead), min(max(total/reserveShare, minReserve), maxReserve)
}

// spaceToStart returns the free space that a start needs: the WAL segments that do not exist yet, and half the reserve.
// An existing spare segment does not count as a segment, because etcd creates it again. But etcd truncates it first, so
// its size counts as free.
func spaceToStart(dir string, reserve int64) int64 {
	need := wal.SegmentSizeBytes + reserve/2
	if segments, _ := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal")); len(segments) == 0 {
		need += wal.SegmentSizeBytes
	}
	for _, spare := range spareSegments(dir) {
		if fi, err := os.Stat(spare); err == nil {
			need -= min(fi.Size(), wal.SegmentSizeBytes)
		}
	}
	return need
}

func spareSegments(dir string) []string {
	names, _ := filepath.Glob(filepath.Join(dir, "member", "wal", "*.tmp"))
	return names
}

const freeSpaceRemedy = "free some space, and writes are accepted again automatically"

func diskFullError(dir string, free, need int64, remedy string) error {
	return unavailable(nil, "the disk of %s is too full: %s free, %s needed; %s",
		dir, humanize.IBytes(uint64(max(free, 0))), humanize.IBytes(uint64(need)), remedy)
}

// waitForSpace waits until the disk has enough space to start an engine. It calls report with the reason of the wait.
func waitForSpace(ctx context.Context, dir string, report func(error)) error {
	t := time.NewTicker(checkInterval)
	defer t.Stop()
	for {
		d, err := diskOf(dir)
		if err == nil {
			_, reserve := reservationSizes(d.total)
			need := spaceToStart(dir, reserve)
			if d.free >= need {
				return nil
			}
			err = diskFullError(dir, d.free, need, freeSpaceRemedy)
		}
		report(err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// errNoSpareSegment is the failure of an engine whose WAL has no spare segment although the disk has space for one.
// etcd tries to create it only once, and would fail in the middle of a later write.
var errNoSpareSegment = errors.New("the log's next segment could not be created while the disk was full")

// check reserves space for the database, whose file has size bytes. It returns an error with the reason if writes must
// be rejected, and errNoSpareSegment if the engine must restart.
func (h *headroom) check(size int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.admitted.Store(0)
	reserved := h.reserveLocked(size)
	d, err := diskOf(h.dir)
	if err != nil {
		return err
	}
	if len(spareSegments(h.dir)) > 0 {
		h.spareSeen = time.Now()
	}
	c := spaceCheck{
		free:     d.free,
		reserve:  h.reserve,
		ahead:    h.ahead,
		reserved: reserved,
		noSpare:  time.Since(h.spareSeen) > spareTimeout,
		low:      h.low,
	}
	need := c.need()
	h.low = d.free < need
	switch {
	case h.low:
		return diskFullError(h.dir, d.free, need, freeSpaceRemedy)
	case c.noSpare:
		return errNoSpareSegment
	}
	return nil
}

// spareTimeout is the longest time that etcd needs to create its next WAL segment.
const spareTimeout = 2 * time.Second

// spaceCheck contains the observations of one check.
type spaceCheck struct {
	free, reserve, ahead int64
	reserved             bool // the blocks for the database's growth are allocated
	noSpare              bool // the WAL has no spare segment
	low                  bool // writes are currently rejected for lack of space
}

// need returns the number of bytes that must be free for writes. While writes are rejected, it is a quarter more, so
// that the state does not alternate quickly.
func (c spaceCheck) need() int64 {
	need := c.reserve
	if !c.reserved {
		need += c.ahead
	}
	if c.noSpare {
		need += wal.SegmentSizeBytes
	}
	if c.low {
		need += need / 4
	}
	return need
}

// reserveLocked allocates the blocks into which the database will grow. It returns false if they could not be
// allocated.
func (h *headroom) reserveLocked(size int64) bool {
	if h.unreserved {
		return false
	}
	if h.db == nil {
		f, err := os.OpenFile(h.dbPath(), os.O_RDWR, 0)
		if err != nil {
			return false
		}
		// bbolt extends its file 16 MiB at a time and leaves a hole at the end.
		h.db, h.reservedEnd = f, max(0, size-(16<<20))
	}
	end := size + h.ahead
	if end-h.reservedEnd < h.ahead/4 {
		return true
	}
	err := reserveBlocks(h.db, h.reservedEnd, end-h.reservedEnd)
	switch {
	case err == nil:
		h.reservedEnd = end
		return true
	case errors.Is(err, errors.ErrUnsupported):
		h.unreserved = true
	}
	return end-h.reservedEnd <= h.ahead/2 // at least half of them are allocated
}

// startDefrag calls the function startDefrag with the size of the database file before a start.
func (h *headroom) startDefrag(full bool) int64 {
	fi, err := os.Stat(h.dbPath())
	if err != nil {
		return 0 // no database yet
	}
	d, err := diskOf(h.dir)
	if err != nil {
		return 0
	}
	return startDefrag(fi.Size(), d.free, h.reserve, full)
}

func (h *headroom) dbPath() string { return filepath.Join(h.dir, "member", "snap", "db") }

// admit counts a write request of n bytes. It returns true if the space must be checked before the request is admitted.
func (h *headroom) admit(n int64) bool {
	return h.admitted.Add(n) > h.ahead/admitShare
}

func (h *headroom) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.db != nil {
		h.db.Close()
	}
}

// disk is the size of a file system in bytes. free is the space that is available to this process.
type disk struct{ total, free int64 }

func diskOf(dir string) (disk, error) {
	d, err := statDisk(dir)
	if err != nil {
		return disk{}, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return d, nil
}

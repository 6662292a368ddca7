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

// Space on the disk is taken before it is needed, since that which is merely free can be gone between two looks:
//
//   - etcd itself keeps a whole unused WAL segment (64 MB) beside the one that it writes. When that spare is
//     missing, the disk was too full to make it.
//   - the blocks that the database file will grow into are reserved beyond its end (fallocate keeping the
//     size), so that a commit does not meet a full disk. Where the file system cannot, as much must be free.
//   - beyond both, a reserve must stay free, for the next spare and for snapshots. Below it writes are refused.
const (
	maxAhead   = 32 << 20  // reserved beyond the end of the database
	maxReserve = 128 << 20 // what must stay free: two WAL segments

	// On a small disk both are a part of the disk, and never less than min….
	aheadShare, minAhead     = 32, 4 << 20
	reserveShare, minReserve = 16, 8 << 20

	// A commit writes changed pages anew before it gives the old ones free, so the database may grow by some
	// times what was written. After this part of ahead has been admitted, the reservation is looked at again.
	admitShare = 8
)

// headroom watches over and reserves the space of one data folder.
type headroom struct {
	dir            string
	ahead, reserve int64

	admitted atomic.Int64 // bytes of write requests since the last look

	mu          sync.Mutex
	low         bool // as of the last look
	spareSeen   time.Time
	db          *os.File
	reservedEnd int64 // the database file's blocks exist up to here
	unreserved  bool  // the file system cannot reserve
}

// openHeadroom refuses a folder on a disk that is too full to start in.
func openHeadroom(dir string) (*headroom, error) {
	d, err := diskOf(dir)
	if err != nil {
		return nil, err
	}
	h := &headroom{dir: dir, spareSeen: time.Now()}
	h.ahead, h.reserve = shares(d.total)
	if need := startNeed(dir, h.reserve); d.free < need {
		return nil, errShort(dir, d.free, need, "free some space")
	}
	return h, nil
}

// shares returns how much to reserve ahead of the database and how much must stay free, on a disk of this size.
func shares(total int64) (ahead, reserve int64) {
	return min(max(total/aheadShare, minAhead), maxAhead), min(max(total/reserveShare, minReserve), maxReserve)
}

// startNeed is the free space that a start takes: the WAL segments that are not there yet and half the reserve. A
// spare left behind is no help, since etcd makes it anew; it is emptied first, so its own space does count.
func startNeed(dir string, reserve int64) int64 {
	need := wal.SegmentSizeBytes + reserve/2
	if segments, _ := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal")); len(segments) == 0 {
		need += wal.SegmentSizeBytes
	}
	for _, spare := range spares(dir) {
		if fi, err := os.Stat(spare); err == nil {
			need -= min(fi.Size(), wal.SegmentSizeBytes)
		}
	}
	return need
}

func spares(dir string) []string {
	names, _ := filepath.Glob(filepath.Join(dir, "member", "wal", "*.tmp"))
	return names
}

const freeAndWait = "free some space, and writes go on by themselves"

func errShort(dir string, free, need int64, remedy string) error {
	return unavailable(nil, "the disk of %s is too full: %s are free, %s are needed; %s",
		dir, humanize.IBytes(uint64(max(free, 0))), humanize.IBytes(uint64(need)), remedy)
}

// awaitSpace waits until an engine can be started, and tells why it waits.
func awaitSpace(ctx context.Context, dir string, tell func(error)) error {
	t := time.NewTicker(look)
	defer t.Stop()
	for {
		d, err := diskOf(dir)
		if err == nil {
			_, reserve := shares(d.total)
			need := startNeed(dir, reserve)
			if d.free >= need {
				return nil
			}
			err = errShort(dir, d.free, need, freeAndWait)
		}
		tell(err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// errSpare ends an engine whose WAL has no spare segment although there is space for one: etcd tries to make it
// only once, and would give up in the middle of a write.
var errSpare = errors.New("the log's next segment could not be made when the disk was full")

// look reserves what the database needs, of which size bytes are in use, and returns why writes must be refused,
// or nil. It returns errSpare when the engine should be started again.
func (h *headroom) look(size int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.admitted.Store(0)
	reserved := h.reserveLocked(size)
	d, err := diskOf(h.dir)
	if err != nil {
		return err
	}
	if len(spares(h.dir)) > 0 {
		h.spareSeen = time.Now()
	}
	s := sight{
		free:     d.free,
		reserve:  h.reserve,
		ahead:    h.ahead,
		reserved: reserved,
		noSpare:  time.Since(h.spareSeen) > spareTime,
		low:      h.low,
	}
	need := s.need()
	h.low = d.free < need
	switch {
	case h.low:
		return errShort(h.dir, d.free, need, freeAndWait)
	case s.noSpare:
		return errSpare
	}
	return nil
}

// spareTime is how long etcd may take to make its next WAL segment.
const spareTime = 2 * time.Second

// sight is what one look saw.
type sight struct {
	free, reserve, ahead int64
	reserved             bool // the database's growth is reserved
	noSpare              bool // the WAL has no spare segment
	low                  bool // writes are being refused for want of space
}

// need returns how much must be free for writes. Once they are refused it is a quarter more, so that the state does
// not flutter.
func (s sight) need() int64 {
	need := s.reserve
	if !s.reserved {
		need += s.ahead
	}
	if s.noSpare {
		need += wal.SegmentSizeBytes
	}
	if s.low {
		need += need / 4
	}
	return need
}

// reserveLocked makes sure that the blocks exist which the database will grow into; false means that they do not.
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
	return end-h.reservedEnd <= h.ahead/2 // half of it is still there
}

// startDefrag is the function startDefrag, for the database as it lies on the disk before a start.
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

// admit counts a write request; true means that it is time for a look before it is let in.
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

// disk is the state of a file system, in bytes; free is what this process may take.
type disk struct{ total, free int64 }

func diskOf(dir string) (disk, error) {
	d, err := statDisk(dir)
	if err != nil {
		return disk{}, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return d, nil
}

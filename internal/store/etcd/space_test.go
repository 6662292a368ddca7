//go:build linux

package etcd

import (
	"strings"
	"testing"

	"github.com/dustin/go-humanize"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

func TestReservationSizes(t *testing.T) {
	for _, tc := range []struct{ disk, ahead, reserve string }{
		{"100 MiB", "4.0 MiB", "8.0 MiB"},
		{"512 MiB", "16 MiB", "32 MiB"},
		{"1 GiB", "32 MiB", "64 MiB"},
		{"2 GiB", "32 MiB", "128 MiB"},
		{"4 TiB", "32 MiB", "128 MiB"},
	} {
		total, err := humanize.ParseBytes(tc.disk)
		if err != nil {
			t.Fatal(err)
		}
		ahead, reserve := reservationSizes(int64(total))
		if a, r := humanize.IBytes(uint64(ahead)), humanize.IBytes(uint64(reserve)); a != tc.ahead || r != tc.reserve {
			t.Errorf("a disk of %s: %s ahead and %s reserve, want %s and %s", tc.disk, a, r, tc.ahead, tc.reserve)
		}
	}
}

func TestNeed(t *testing.T) {
	const mib = 1 << 20
	for _, tc := range []struct {
		name string
		s    spaceCheck
		want int64
	}{
		{"all reserved", spaceCheck{reserve: 128 * mib, ahead: 32 * mib, reserved: true}, 128 * mib},
		{"file system without reservation", spaceCheck{reserve: 128 * mib, ahead: 32 * mib}, 160 * mib},
		{"no spare segment", spaceCheck{reserve: 128 * mib, ahead: 32 * mib, reserved: true, noSpare: true},
			128*mib + wal.SegmentSizeBytes},
		{"already rejecting writes", spaceCheck{reserve: 128 * mib, ahead: 32 * mib, reserved: true, low: true},
			160 * mib},
	} {
		if got := tc.s.need(); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}

// TestReservation checks that the blocks into which the database will grow are allocated beyond the end of its file.
func TestReservation(t *testing.T) {
	e := currentEngine(start(t, Config{Dir: folder(t)}))
	e.space.mu.Lock()
	defer e.space.mu.Unlock()
	if e.space.unreserved {
		t.Skip("this file system cannot reserve blocks")
	}
	blocks, err := allocated(e.space.db)
	if err != nil {
		t.Fatal(err)
	}
	if blocks < e.space.ahead {
		t.Errorf("%d bytes are allocated, want at least %d", blocks, e.space.ahead)
	}
}

func TestStartOnFullDisk(t *testing.T) {
	disk, ok := smallDisk(t, 64<<20)
	if !ok {
		return
	}
	_, err := Start(t.Context(), Config{Dir: disk})
	if err == nil || !strings.Contains(err.Error(), " free, ") || !strings.Contains(err.Error(), disk) {
		t.Errorf("Start on a disk of 64 MiB: %v", err)
	}
}

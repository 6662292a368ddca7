package etcd

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.uber.org/zap"
)

// clearUnfinished removes what a very first start left when it was cut off between making the log and writing its
// first entry, the one that makes this server a member of its own cluster. etcd takes such a folder for a member
// that only has to catch up, and waits for ever for a leader. In a log that commits nothing nothing was ever
// acknowledged.
func clearUnfinished(dir string) error {
	member := filepath.Join(dir, "member")
	if snaps, _ := filepath.Glob(filepath.Join(member, "snap", "*.snap")); len(snaps) > 0 {
		return nil
	}
	logs := filepath.Join(member, "wal")
	if segments, _ := filepath.Glob(filepath.Join(logs, "*.wal")); len(segments) != 1 {
		return nil
	}
	w, err := wal.OpenForRead(zap.NewNop(), logs, &walpb.Snapshot{})
	if err != nil {
		return fmt.Errorf("read the log in %s: %w", logs, err)
	}
	_, state, _, err := w.ReadAll()
	_ = w.Close() // always an error: a log that is open for reading has no folder to close
	if err != nil || state.GetCommit() > 0 {
		return nil // a log that cannot be read is etcd's to judge
	}
	if err := os.RemoveAll(member); err != nil {
		return fmt.Errorf("remove an unfinished start: %w", err)
	}
	return nil
}

package etcd

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.uber.org/zap"
)

// removeUnfinishedStart removes the files of a very first start that was killed between the creation of the log and its
// first entry, which makes this server a member of its cluster. etcd would take the folder for that of a member
// that has to catch up, and wait forever for a leader. Removing the log loses nothing, because a log without committed
// entries contains no acknowledged write.
func removeUnfinishedStart(dir string) error {
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
	_ = w.Close() // always fails, because a log that is open for reading has no folder to close
	if err != nil || state.GetCommit() > 0 {
		return nil // etcd handles a log that cannot be read
	}
	if err := os.RemoveAll(member); err != nil {
		return fmt.Errorf("remove an unfinished start: %w", err)
	}
	return nil
}

package etcd

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.uber.org/zap"
)

// removeUnfinishedStart removes the files of a first start that was killed after it created the log but before it wrote
// the log's first entry, which makes this server a member of its cluster. From such a folder, etcd would start as a
// member that has to catch up, and wait forever for a leader. Removing the log loses nothing, because a log without
// committed entries contains no acknowledged write.
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
	_ = w.Close() // always fails for a log that is open for reading, because it has no open folder
	if err != nil || state.GetCommit() > 0 {
		return nil // if the log cannot be read, etcd reports or repairs it
	}
	if err := os.RemoveAll(member); err != nil {
		return fmt.Errorf("remove an unfinished start: %w", err)
	}
	return nil
}

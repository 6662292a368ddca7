package etcd

import "testing"

func TestActionFor(t *testing.T) {
	const (
		boot     = "github.com/bakingclouds/rollcall/internal/store/etcd.(*engine).boot"
		read     = "github.com/bakingclouds/rollcall/internal/store/etcd.callDetached[...].func1"
		onStop   = "go.etcd.io/etcd/server/v3/etcdserver.(*raftNode).onStop"
		raft     = "go.etcd.io/etcd/server/v3/etcdserver.(*raftNode).start.func1"
		commit   = "go.etcd.io/etcd/server/v3/storage/backend.(*batchTx).commit"
		closing  = "go.etcd.io/etcd/server/v3/storage/backend.(*batchTxBuffered).CommitAndStop"
		ticker   = "go.etcd.io/etcd/server/v3/storage/backend.(*backend).run"
		apply    = "go.etcd.io/etcd/server/v3/etcdserver.(*EtcdServer).applyAll"
		snapshot = "go.etcd.io/etcd/server/v3/etcdserver.(*EtcdServer).snapshot"
		job      = "go.etcd.io/etcd/pkg/v3/schedule.(*fifo).executeJob"
		purge    = "go.etcd.io/etcd/server/v3/etcdserver.(*EtcdServer).purgeFile"
	)
	for _, tc := range []struct {
		msg       string
		stack     []string
		unwinding bool
		want      fatalAction
	}{
		{"failed to open database", []string{boot}, false, unwind},
		{"failed to save Raft hard state and entries", []string{raft}, false, proceed},
		{"failed to close Raft storage", []string{onStop, raft}, false, proceed},
		{"failed to commit tx", []string{commit, ticker}, false, park},
		{"failed to commit tx", []string{commit, apply, job}, false, park},
		{"failed to commit tx", []string{commit, read}, false, park},
		{"failed to commit tx", []string{commit, snapshot, apply, job}, false, park},
		{"failed to commit tx", []string{commit, closing, ticker}, false, proceed},
		{"failed to save snapshot", []string{snapshot, apply, job}, false, unwind},
		{"execute job failed", []string{job + ".func1", snapshot, apply, job}, true, proceed},
		{"execute job failed", []string{job + ".func1", apply, job}, false, park},
		{"failed to purge wal file", []string{purge}, false, proceed},
		{"range failed to find revision pair", []string{read}, false, unwind},
		{"range failed to find revision pair", []string{apply, job}, false, park},
		{"something new", nil, false, park},
	} {
		if got := actionFor(tc.msg, tc.stack, tc.unwinding); got != tc.want {
			t.Errorf("%s on %q: action %d, want %d", tc.msg, tc.stack, got, tc.want)
		}
	}
}

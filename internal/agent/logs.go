package agent

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/loggroup"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// The bounds of what a node keeps of containers that have ended; the oldest go first.
const (
	maxEndedLogs  = 10000
	maxEndedBytes = 2 << 30
)

// declareLogs makes the logs of a task that is about to be created, and says which streams they are. A group that is not
// there, and that nobody asked to make, keeps the task from starting, as at AWS.
func (a *Agent) declareLogs(ctx context.Context, t *task.Task, def *task.Definition) error {
	if a.Logs == nil {
		return nil
	}
	for _, c := range def.Containers {
		var stream *containerlog.Stream
		if c.Log != nil {
			if err := a.needGroup(ctx, t, c.Log); err != nil {
				return err
			}
			stream = &containerlog.Stream{Region: c.Log.Region, Group: c.Log.Group, Name: c.Log.Stream(t.ID, c.Name), Created: time.Now().UnixMilli()}
		}
		if err := a.Logs.Declare(string(t.ID), c.Name, stream); err != nil {
			return err
		}
	}
	return nil
}

// needGroup makes sure that a log group is there.
func (a *Agent) needGroup(ctx context.Context, t *task.Task, log *task.Log) error {
	sc := arn.Scope{Account: t.Account, Region: log.Region}
	_, err := loggroup.Get(a.db.Snapshot(), sc, log.Group)
	if err == nil {
		return nil
	}
	if log.Create && loggroup.ValidName(log.Group) {
		_, err = store.Update(ctx, a.db, func(tx *store.Tx) (struct{}, error) {
			return struct{}{}, loggroup.Create(tx, sc, loggroup.Group{Name: log.Group}, time.Now())
		})
	}
	switch {
	case err == nil, fault.Is(err, fault.Exists):
		return nil
	case fault.Is(err, fault.NotFound):
		return initializationError("failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: "+
			"ResourceNotFoundException: The specified log group does not exist. (log group %s in %s)", log.Group, log.Region)
	}
	return err
}

// span is how much a log holds, and from when.
type span struct {
	last, size int64
	empty      bool
}

// keptLog is a log with what decides whether it is kept.
type keptLog struct {
	*containerlog.Entry
	span
	known bool            // its task is still described
	ended bool            // nothing more comes
	group *loggroup.Group // of its stream; nil when that is gone
}

// tidyLogs keeps the node's logs within their bounds until ctx ends.
func (a *Agent) tidyLogs(ctx context.Context) {
	if a.Logs == nil {
		return
	}
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	for {
		a.keepLogs(time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// keepLogs removes the logs that nobody can ask for any more, and those that there is no room for.
func (a *Agent) keepLogs(now time.Time) {
	entries := a.Logs.All() // before the rows: a task's row is there before its log
	snapshot := a.db.Snapshot()
	known := map[string]bool{}
	for _, t := range task.TasksOn(snapshot, a.Node) {
		known[string(t.ID)] = true
	}
	var all []keptLog
	spans := map[string]span{} // of ended logs, which change no more
	for _, e := range entries {
		k := keptLog{Entry: e, known: known[e.TaskID], ended: containerlog.Ended(e.Dir)}
		if s := e.Stream; s != nil {
			k.group, _ = loggroup.Get(snapshot, arn.Scope{Region: s.Region}, s.Group) // not found is nil
		}
		if k.ended {
			var measured bool
			if k.span, measured = a.spans[e.Dir]; !measured {
				_, last, size, ok, err := containerlog.Span(e.Dir)
				if err != nil {
					a.Log.Error("a log cannot be read", "task", e.TaskID, "container", e.Container, "err", err)
				}
				k.span = span{last, size, !ok}
			}
			spans[e.Dir] = k.span
		}
		all = append(all, k)
	}
	a.spans = spans
	if err := a.Logs.Remove(surplus(all, now, maxEndedLogs, maxEndedBytes)); err != nil {
		a.Log.Error("old logs cannot be removed", "err", err)
	}
}

// surplus are the logs that are not kept: those of a task that is forgotten, unless a log group has them for as long as it
// retains events; and, of those that have ended, the oldest beyond so many and so many bytes.
func surplus(all []keptLog, now time.Time, most int, bytes int64) (gone []*containerlog.Entry) {
	var ended []keptLog
	for _, k := range all {
		switch {
		case !k.known && !k.wanted(now):
			gone = append(gone, k.Entry)
		case k.ended:
			ended = append(ended, k)
		}
	}
	slices.SortFunc(ended, func(a, b keptLog) int { return cmp.Or(cmp.Compare(b.last, a.last), cmp.Compare(a.Dir, b.Dir)) })
	for n, k := range ended {
		bytes -= k.size
		if n >= most || bytes < 0 {
			gone = append(gone, k.Entry)
		}
	}
	return gone
}

// wanted reports whether a log group still has events of the log.
func (k *keptLog) wanted(now time.Time) bool {
	return k.group != nil && k.ended && !k.empty && k.last >= k.group.VisibleFrom(now)
}

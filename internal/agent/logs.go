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

// The limits of the logs of containers that have ended; the oldest logs are removed first.
const (
	maxEndedLogs  = 10000
	maxEndedBytes = 2 << 30
)

// declareLogs makes the logs of a task that is about to be created, with the streams that they belong to. If a log
// group does not exist and the definition does not ask to create it, the task cannot start, as at AWS.
func (a *Agent) declareLogs(ctx context.Context, t *task.Task, def *task.Definition) error {
	if a.Logs == nil {
		return nil
	}
	for _, c := range def.Containers {
		var stream *containerlog.Stream
		if c.Log != nil {
			if err := a.ensureLogGroup(ctx, t, c.Log); err != nil {
				return err
			}
			stream = &containerlog.Stream{
				Region: c.Log.Region, Group: c.Log.Group, Name: c.Log.Stream(t.ID, c.Name), Created: time.Now().UnixMilli(),
			}
		}
		if err := a.Logs.Declare(string(t.ID), c.Name, stream); err != nil {
			return err
		}
	}
	return nil
}

// ensureLogGroup makes sure that a log group exists.
func (a *Agent) ensureLogGroup(ctx context.Context, t *task.Task, log *task.Log) error {
	sc := arn.Scope{Account: t.Account, Region: log.Region}
	_, err := loggroup.Get(a.db.Snapshot(), sc, log.Group)
	if err == nil {
		return nil
	}
	if log.Create && loggroup.ValidName(log.Group) {
		now := time.Now()
		_, err = store.Update(ctx, a.db, func(tx *store.Tx) (struct{}, error) {
			return struct{}{}, loggroup.Create(tx, sc, loggroup.Group{Name: log.Group}, now)
		})
	}
	switch {
	case err == nil, fault.Is(err, fault.Exists):
		return nil
	case fault.Is(err, fault.NotFound):
		return initializationError("failed to validate logger args: create stream has been retried 1 times: "+
			"failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist. "+
			"(log group %s in %s)", log.Group, log.Region)
	}
	return err
}

// span is the extent of a log.
type span struct {
	last, size int64 // the time of the last line in milliseconds, and the size in bytes
	empty      bool
}

// taskLog is a log with what decides whether it is kept.
type taskLog struct {
	*containerlog.Entry
	span
	hasTask bool            // its task's row exists
	ended   bool            // nothing is added to it
	group   *loggroup.Group // of its stream; nil if the group does not exist
}

// cleanLogs removes old logs from time to time, until ctx is done.
func (a *Agent) cleanLogs(ctx context.Context) {
	if a.Logs == nil {
		return
	}
	tick := time.NewTicker(resyncInterval)
	defer tick.Stop()
	for {
		a.removeOldLogs(time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// removeOldLogs removes the logs that no API returns any more, and those beyond the limits.
func (a *Agent) removeOldLogs(now time.Time) {
	entries := a.Logs.All() // before the rows: a task's row exists before its log
	snapshot := a.db.Snapshot()
	hasTask := map[string]bool{}
	for _, t := range task.TasksOn(snapshot, a.Node) {
		hasTask[string(t.ID)] = true
	}
	var all []taskLog
	spans := map[string]span{} // of ended logs, which do not change
	for _, e := range entries {
		l := taskLog{Entry: e, hasTask: hasTask[e.TaskID], ended: containerlog.Ended(e.Dir)}
		if s := e.Stream; s != nil {
			l.group, _ = loggroup.Get(snapshot, arn.Scope{Region: s.Region}, s.Group) // not found is nil
		}
		if l.ended {
			l.span = a.endedSpan(e)
			spans[e.Dir] = l.span
		}
		all = append(all, l)
	}
	a.endedSpans = spans
	if err := a.Logs.Remove(oldLogs(all, now, maxEndedLogs, maxEndedBytes)); err != nil {
		a.Log.Error("cannot remove old logs", "err", err)
	}
}

// endedSpan returns the extent of an ended log, which it reads once.
func (a *Agent) endedSpan(e *containerlog.Entry) span {
	if s, known := a.endedSpans[e.Dir]; known {
		return s
	}
	_, last, size, ok, err := containerlog.Span(e.Dir)
	if err != nil {
		a.Log.Error("cannot read a log", "task", e.TaskID, "container", e.Container, "err", err)
	}
	return span{last, size, !ok}
}

// oldLogs returns the logs to remove: those whose task has no row, unless a log group still retains their events; and,
// of those that have ended, the oldest beyond a number of logs and bytes.
func oldLogs(all []taskLog, now time.Time, maxLogs int, maxBytes int64) (old []*containerlog.Entry) {
	var ended []taskLog
	for _, l := range all {
		switch {
		case !l.hasTask && !l.retained(now):
			old = append(old, l.Entry)
		case l.ended:
			ended = append(ended, l)
		}
	}
	slices.SortFunc(ended, func(a, b taskLog) int {
		return cmp.Or(cmp.Compare(b.last, a.last), cmp.Compare(a.Dir, b.Dir))
	})
	bytes := int64(0)
	for n, l := range ended {
		bytes += l.size
		if n >= maxLogs || bytes > maxBytes {
			old = append(old, l.Entry)
		}
	}
	return old
}

// retained reports whether a log group still has events of the log.
func (l *taskLog) retained(now time.Time) bool {
	return l.group != nil && l.ended && !l.empty && l.last >= l.group.VisibleFrom(now)
}

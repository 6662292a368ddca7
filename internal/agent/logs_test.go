package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/loggroup"
)

// TestOldLogs checks which logs are removed: of tasks with and without a row, within and beyond retention and limits.
func TestOldLogs(t *testing.T) {
	now := time.UnixMilli(1700000000000)
	day := func(n int) int64 { return now.AddDate(0, 0, -n).UnixMilli() }
	group := &loggroup.Group{Created: now.AddDate(0, 0, -20), Retention: 7}
	log := func(name string, hasTask, ended bool, g *loggroup.Group, last int64) taskLog {
		return taskLog{
			Entry: &containerlog.Entry{TaskID: name, Dir: name}, hasTask: hasTask, ended: ended, group: g,
			span: span{last: last, size: 10},
		}
	}
	empty := log("empty", false, true, group, day(1))
	empty.empty = true
	all := []taskLog{
		log("runs", true, false, nil, 0),
		log("just ended", true, true, nil, day(0)),
		log("in its group", false, true, group, day(6)),
		log("retention is over", false, true, group, day(8)),
		log("before the group", false, true, &loggroup.Group{Created: now}, day(1)),
		log("group is gone", false, true, nil, day(1)),
		log("never started", false, false, group, 0),
		empty,
	}
	for _, tc := range []struct {
		logs  int
		bytes int64
		want  string
	}{
		{10, 1000, "retention is over, before the group, group is gone, never started, empty"},
		{1, 1000, "retention is over, before the group, group is gone, never started, empty, in its group"},
		{10, 19, "retention is over, before the group, group is gone, never started, empty, in its group"},
		{10, 0, "retention is over, before the group, group is gone, never started, empty, just ended, in its group"},
	} {
		var got []string
		for _, e := range oldLogs(all, now, tc.logs, tc.bytes) {
			got = append(got, e.TaskID)
		}
		if strings.Join(got, ", ") != tc.want {
			t.Errorf("at most %d logs, %d bytes: %s; want %s", tc.logs, tc.bytes, strings.Join(got, ", "), tc.want)
		}
	}
}

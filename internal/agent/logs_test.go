package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/loggroup"
)

// TestSurplus: what goes, of logs that are described, retained, forgotten and too many.
func TestSurplus(t *testing.T) {
	now := time.UnixMilli(1700000000000)
	day := func(n int) int64 { return now.AddDate(0, 0, -n).UnixMilli() }
	group := &loggroup.Group{Created: now.AddDate(0, 0, -20), Retention: 7}
	log := func(name string, known, ended bool, g *loggroup.Group, last int64) keptLog {
		return keptLog{Entry: &containerlog.Entry{TaskID: name, Dir: name}, known: known, ended: ended, group: g, span: span{last: last, size: 10}}
	}
	empty := log("empty", false, true, group, day(1))
	empty.empty = true
	all := []keptLog{
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
		most  int
		bytes int64
		want  string
	}{
		{10, 1000, "retention is over, before the group, group is gone, never started, empty"},
		{1, 1000, "retention is over, before the group, group is gone, never started, empty, in its group"},
		{10, 19, "retention is over, before the group, group is gone, never started, empty, in its group"},
		{10, 0, "retention is over, before the group, group is gone, never started, empty, just ended, in its group"},
	} {
		var got []string
		for _, e := range surplus(all, now, tc.most, tc.bytes) {
			got = append(got, e.TaskID)
		}
		if strings.Join(got, ", ") != tc.want {
			t.Errorf("at most %d logs, %d bytes: %s; want %s", tc.most, tc.bytes, strings.Join(got, ", "), tc.want)
		}
	}
}

package registrar

import (
	"testing"
	"time"
)

func TestDrainWait(t *testing.T) {
	now := time.Now()
	const ttl, long = 10 * time.Second, time.Hour
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, tc := range []struct {
		name      string
		liveNodes bool
		lostSince []time.Time
		deadline  time.Duration // from now
		want      time.Duration
	}{
		{name: "every node has given its clearance", deadline: long, want: 0},
		{name: "a live node has not", liveNodes: true, deadline: long, want: long},
		{name: "a live node has not, and the deadline is over", liveNodes: true, deadline: -1, want: 0},
		{name: "node lost now", lostSince: []time.Time{now}, deadline: long, want: ttl + lostNodeMargin},
		{name: "node lost 4 s ago", lostSince: []time.Time{ago(4 * time.Second)}, deadline: long,
			want: 8 * time.Second},
		{name: "node lost long ago", lostSince: []time.Time{ago(long)}, deadline: long, want: 0},
		{name: "the node that was lost last counts", lostSince: []time.Time{ago(long), ago(5 * time.Second), now},
			deadline: long, want: ttl + lostNodeMargin},
		{name: "node lost now, and the deadline is earlier", lostSince: []time.Time{now}, deadline: time.Second,
			want: time.Second},
		{name: "node lost long ago, and a live one", liveNodes: true, lostSince: []time.Time{ago(long)}, deadline: long,
			want: long},
		{name: "node lost now, and a live one", liveNodes: true, lostSince: []time.Time{now}, deadline: long,
			want: long},
		{name: "node lost now, and the deadline is over", lostSince: []time.Time{now}, deadline: -time.Second, want: 0},
	} {
		w := drainWait{LiveNodes: tc.liveNodes, LostSince: tc.lostSince, TTL: ttl, Deadline: now.Add(tc.deadline)}
		if got := w.remaining(now); got != tc.want {
			t.Errorf("%s: remaining = %v, want %v", tc.name, got, tc.want)
		}
	}
}

package registrar

import (
	"testing"
	"time"
)

func TestClearing(t *testing.T) {
	now := time.Now()
	const ttl, long = 10 * time.Second, time.Hour
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, tc := range map[string]struct {
		waiting bool
		lost    []time.Time
		cap     time.Duration // from now
		want    time.Duration
	}{
		"every node has cleared it":                      {cap: long, want: 0},
		"a live node has not":                            {waiting: true, cap: long, want: long},
		"a live node has not, and the cap is reached":    {waiting: true, cap: -1, want: 0},
		"a node is gone since now":                       {lost: []time.Time{now}, cap: long, want: ttl + slack},
		"a node is gone for some time":                   {lost: []time.Time{ago(4 * time.Second)}, cap: long, want: 8 * time.Second},
		"a node is gone for long":                        {lost: []time.Time{ago(long)}, cap: long, want: 0},
		"of several, the last counts":                    {lost: []time.Time{ago(long), ago(5 * time.Second), now}, cap: long, want: ttl + slack},
		"a node is gone, but the cap comes first":        {lost: []time.Time{now}, cap: time.Second, want: time.Second},
		"one is gone for long, a live one has not yet":   {waiting: true, lost: []time.Time{ago(long)}, cap: long, want: long},
		"one is gone since now, a live one has not yet":  {waiting: true, lost: []time.Time{now}, cap: long, want: long},
		"a node is gone, and the cap was reached before": {lost: []time.Time{now}, cap: -time.Second, want: 0},
	} {
		c := Clearing{Waiting: tc.waiting, Lost: tc.lost, TTL: ttl, Cap: now.Add(tc.cap)}
		if got := c.Left(now); got != tc.want {
			t.Errorf("%s: %v left, want %v", name, got, tc.want)
		}
	}
}

package translate

import (
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/engineopts"
)

func TestShouldRestart(t *testing.T) {
	start := time.Unix(1000, 0)
	p := &engineopts.RestartPolicy{Ignored: []int{0, 7}, Period: time.Minute}
	for _, tc := range []struct {
		name   string
		policy *engineopts.RestartPolicy
		code   int
		ran    time.Duration
		want   bool
	}{
		{"no policy", nil, 1, time.Hour, false},
		{"ran for the period", p, 1, time.Minute, true},
		{"ran for less than the period", p, 1, time.Minute - 1, false},
		{"ignored exit code", p, 7, time.Hour, false},
		{"killed", p, 137, time.Hour, true},
		{"end before the start", &engineopts.RestartPolicy{}, 1, -time.Millisecond, true},
	} {
		if got := ShouldRestart(tc.policy, tc.code, start, start.Add(tc.ran)); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

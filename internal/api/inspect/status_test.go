package inspect

import (
	"fmt"
	"strings"
	"testing"
)

func TestListed(t *testing.T) {
	for _, tc := range []struct {
		services string // name:unhealthy+not ready
		most     int
		want     string
	}{
		{"", 2, ""},
		{"b a", 2, "a b"},
		{"c:9 b a", 3, "a b c"},
		{"d b c a", 2, "a b"},
		{"d b:1 c:0+2 a", 2, "b c"}, // those in trouble, by name
		{"d b:1 c:0+2 a", 1, "c"},   // the most of it
		{"d b c:1 a", 2, "a c"},     // and then by name
	} {
		var in []RegisteredService
		for _, word := range strings.Fields(tc.services) {
			name, counted, _ := strings.Cut(word, ":")
			s := RegisteredService{Name: name, Counts: Counts{Healthy: 100, Draining: 100}}
			fmt.Sscanf(counted, "%d+%d", &s.Counts.Unhealthy, &s.Counts.NotReady) // as many as are given
			in = append(in, s)
		}
		var got []string
		for _, s := range listed(in, tc.most) {
			got = append(got, s.Name)
		}
		if got := strings.Join(got, " "); got != tc.want {
			t.Errorf("listed(%s, %d) = %s, want %s", tc.services, tc.most, got, tc.want)
		}
	}
}

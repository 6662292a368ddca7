package process

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent"
)

// TestStreak runs checks that take no time. In results, p is a pass and f a failure. In want, each check is the second
// after the start at which it ran and the verdict after it: - unknown, H healthy, U unhealthy.
func TestStreak(t *testing.T) {
	check := agent.HealthCheck{Interval: 5 * time.Second, Retries: 2}
	grace := agent.HealthCheck{Interval: 5 * time.Second, Retries: 1, StartPeriod: 7 * time.Second}
	for _, tc := range []struct {
		name          string
		check         agent.HealthCheck
		from          agent.Health
		results, want string
	}{
		{"healthy from the first check", check, "", "ppp", "0.2H 5.2H 10.2H"},
		{"healthy soon after it is ready", check, "", "fffpp", "0.2- 0.6- 1.2- 2.0H 7.0H"},
		{"failures count once an interval", check, "", "fffffffffff",
			"0.2- 0.6- 1.2- 2.0- 3.3- 5.0- 7.6- 10.0U 15.0U 20.0U 25.0U"},
		{"only failures in a row count", check, "", "pfpfpffp", "0.2H 5.2H 10.2H 15.2H 20.2H 25.2H 30.2U 35.2H"},
		{"failures in the start period do not count", grace, "", "ffffffff", "0.2- 0.6- 1.2- 2.0- 3.3- 5.2- 7.0U 12.0U"},
		{"a success ends the start period", grace, "", "fpff", "0.2- 0.6H 5.6U 10.6U"},
		{"a healthy verdict resumes", check, agent.HealthHealthy, "fp", "0.0H 5.0H"},
		{"an unhealthy verdict resumes", check, agent.HealthUnhealthy, "fp", "0.0U 5.0H"},
	} {
		letters := map[agent.Health]string{agent.HealthUnknown: "-", agent.HealthHealthy: "H", agent.HealthUnhealthy: "U"}
		s := resumedStreak(tc.from, "")
		var age time.Duration
		var got []string
		for _, result := range tc.results {
			age += s.wait
			s = s.after(withDefaults(tc.check), age, result == 'p', "output")
			got = append(got, fmt.Sprintf("%.1f%s", age.Seconds(), letters[s.health]))
		}
		if got := strings.Join(got, " "); got != tc.want {
			t.Errorf("%s: %s\n got %s\nwant %s", tc.name, tc.results, got, tc.want)
		}
	}
}

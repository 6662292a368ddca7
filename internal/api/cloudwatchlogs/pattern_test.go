package cloudwatchlogs

import (
	"strings"
	"testing"
)

// TestPattern checks examples of "Filter pattern syntax" in the CloudWatch Logs User Guide, and invalid patterns.
func TestPattern(t *testing.T) {
	messages := []string{"[ERROR 400] BAD REQUEST", "[ERROR 401] UNAUTHORIZED REQUEST",
		"[ERROR 419] MISSING ARGUMENTS", "[INFO] a \"b\" c%"}
	for pattern, want := range map[string]string{
		"ERROR": "012", "ERROR ARGUMENTS": "2", "?ERROR ?ARGUMENTS": "012", "ERROR -ARGUMENTS": "01",
		`"BAD REQUEST"`: "0",
		"-ERROR":        "3", `-"BAD REQUEST" ERROR`: "12", "ERROR ?BAD": "012", "error": "", `"a \"b\""`: "3",
		"%40[01]%": "01", "  ": "0123",
		`"["`: "0123", "%ERROR 4% REQUEST": "01",
	} {
		match, err := parsePattern(pattern)
		got := ""
		for i, m := range messages {
			if err == nil && (match == nil || match([]byte(m))) {
				got += string(rune('0' + i))
			}
		}
		if err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", pattern, got, err, want)
		}
	}
	for _, pattern := range []string{`"open`, "%(%", "%open", "-", "?", "{ $.a = 1 }", "[a, b]",
		strings.Repeat("a", 1025)} {
		if _, err := parsePattern(pattern); err == nil {
			t.Errorf("parsePattern(%.40s) succeeded, want an error", pattern)
		}
	}
}

// FuzzPattern checks that no pattern makes the parser panic or loop.
func FuzzPattern(f *testing.F) {
	f.Add(`a "b c" -%d+% ?e`, "text")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if match, err := parsePattern(pattern); err == nil && match != nil {
			match([]byte(text))
		}
	})
}

package cli

import (
	"testing"
	"time"
)

func TestSinceWhen(t *testing.T) {
	now := time.Unix(1700000000, 0)
	for s, want := range map[string]int64{"": 0, "10m": now.Add(-10 * time.Minute).UnixMilli(),
		"2023-11-14T22:13:20Z": 1700000000000} {
		if got, err := sinceWhen(s, now); err != nil || got != want {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"-1m", "yesterday", "10"} {
		if _, err := sinceWhen(s, now); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

// TestPrintable checks that color sequences pass and that other control sequences are removed.
func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"plain\ttext äöü":               "plain\ttext äöü",
		"\x1b[31mred\x1b[0m \x1b[1;2m":  "\x1b[31mred\x1b[0m \x1b[1;2m",
		"\x1b[2J\x1b]0;title\x07\x1b[H": "[2J]0;title[H",
		"over\rwritten\x00\x7f\u009b2J": "overwritten2J",
		"\x1b[":                         "[",
	} {
		if got := printable(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

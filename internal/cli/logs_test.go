package cli

import (
	"testing"
	"time"
)

func TestParseSince(t *testing.T) {
	now := time.Unix(1700000000, 0)
	for s, want := range map[string]int64{"": 0, "10m": now.Add(-10 * time.Minute).UnixMilli(),
		"2023-11-14T22:13:20Z": 1700000000000} {
		if got, err := parseSince(s, now); err != nil || got != want {
			t.Errorf("parseSince(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"-1m", "yesterday", "10"} {
		if _, err := parseSince(s, now); err == nil {
			t.Errorf("parseSince(%q) succeeded, want an error", s)
		}
	}
}

// TestPrintable checks that printable keeps color sequences and removes other control characters.
func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"plain\ttext äöü":               "plain\ttext äöü",
		"\x1b[31mred\x1b[0m \x1b[1;2m":  "\x1b[31mred\x1b[0m \x1b[1;2m",
		"\x1b[2J\x1b]0;title\x07\x1b[H": "[2J]0;title[H",
		"over\rwritten\x00\x7f\u009b2J": "overwritten2J",
		"\x1b[":                         "[",
	} {
		if got := printable(s); got != want {
			t.Errorf("printable(%q) = %q, want %q", s, got, want)
		}
	}
}

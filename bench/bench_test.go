package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/bakingclouds/rollcall/internal/agent/process"
)

func TestMain(m *testing.M) {
	if status, ok := process.Main(os.Args[1:]); ok {
		os.Exit(status)
	}
	if status, ok := roleMain(os.Args[1:]); ok {
		os.Exit(status)
	}
	os.Exit(m.Run())
}

// TestMeasurements runs each measurement with a minimal size, and checks that it prints figures, whatever they are.
func TestMeasurements(t *testing.T) {
	for _, m := range measurements {
		t.Run(m.name, func(t *testing.T) {
			b := &bench{progress: iotest.NewWriteLogger("", new(bytes.Buffer)), sizes: sizes{
				turns: 2, registerAlone: 3, registerMany: 20, clients: 4, discover: 10, queries: 100, visible: 3,
				large: 200, small: 20, all: 400, few: 40, each: 20, changes: 10, answer: 10, scale: 1200,
				serviceTasks: 200, taskChanges: 5, fakes: 5, processes: 2, containers: 3, containerTurns: 1,
			}}
			var out bytes.Buffer
			if err := b.run(t.Context(), regexp.MustCompile("^"+m.name+"$"), &out); err != nil {
				t.Fatal(err)
			}
			if lines := strings.Count(out.String(), "\n"); lines < 4 {
				t.Errorf("%d lines, want a heading and a figure:\n%s", lines, &out)
			}
		})
	}
}

func TestVerdict(t *testing.T) {
	for _, tc := range []struct {
		target target
		figure float64
		want   string
	}{
		{target{rule: atLeast, limit: 0.5}, 0.5, "≥ 0.50 met"},
		{target{rule: atLeast, limit: 0.5}, 0.49, "≥ 0.50 missed"},
		{target{rule: atMost, limit: 15, unit: " s"}, 15.1, "≤ 15 s missed"},
		{target{rule: atMost, limit: 0}, 0, "≤ 0 met"},
		{target{}, 7, "– –"},
	} {
		if got := tc.target.String() + " " + tc.target.verdict(tc.figure); got != tc.want {
			t.Errorf("%v with %v: %q, want %q", tc.target, tc.figure, got, tc.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 7: "7", 0.123: "0.12", 1.5: "1.50", 12.34: "12.3", 1234.5: "1,235",
		1_000_000: "1,000,000", -1234: "-1,234"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}

// TestCompare checks that a ratio uses two figures of one turn, whichever side ran first, and that an outlier does not
// change the median.
func TestCompare(t *testing.T) {
	order := ""
	series := func(name string, vs ...float64) func() (float64, error) {
		return func() (float64, error) {
			v := vs[0]
			vs = vs[1:]
			order += name
			return v, nil
		}
	}
	got, err := compare(3, series("o", 2, 80, 6), series("b", 4, 10, 12))
	if err != nil {
		t.Fatal(err)
	}
	if want := (comparison{ours: 6, baseline: 10, ratio: 0.5}); got != want || order != "obboob" {
		t.Errorf("%+v in the order %s, want %+v in the order obboob", got, order, want)
	}
}

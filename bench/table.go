package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"text/tabwriter"
)

// row is one line of the table.
type row struct {
	what           string
	ours, baseline string  // with units; baseline is empty if there is none
	figure         float64 // the value that the target applies to: the ratio, or ours
	target         target
	bound          string // what limits the figure
}

// target is the target of a figure.
type target struct {
	rule  rule
	limit float64
	unit  string // of figure and limit; empty for a ratio
}

type rule int

const (
	noTarget rule = iota
	atLeast
	atMost
)

func (t target) String() string {
	switch t.rule {
	case atLeast:
		return "≥ " + number(t.limit) + t.unit
	case atMost:
		return "≤ " + number(t.limit) + t.unit
	}
	return "–"
}

// verdict reports whether a figure meets the target.
func (t target) verdict(figure float64) string {
	switch {
	case t.rule == noTarget:
		return "–"
	case t.rule == atLeast && figure >= t.limit, t.rule == atMost && figure <= t.limit:
		return "met"
	}
	return "missed"
}

// print writes the table.
func print(w io.Writer, rows []row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "what\tours\tbaseline\tfigure\ttarget\t\tbounded by")
	for _, r := range rows {
		baseline := r.baseline
		if baseline == "" {
			baseline = "–"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s%s\t%s\t%s\t%s\n",
			r.what, r.ours, baseline, number(r.figure), r.target.unit, r.target, r.target.verdict(r.figure), r.bound)
	}
	return t.Flush()
}

// number formats v with three significant digits, or as a whole number.
func number(v float64) string {
	switch a := math.Abs(v); {
	case v == math.Trunc(v) || a >= 100:
		return grouped(int64(math.Round(v)))
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// comparison is the result of all turns: the medians of both sides and of the turns' ratios.
type comparison struct{ ours, baseline, ratio float64 }

// compare runs both sides in turns, alternating which one runs first. Each side returns its figure.
func compare(turns int, ours, baseline func() (float64, error)) (comparison, error) {
	var us, them, ratios []float64
	for turn := range turns {
		order := []func() error{
			func() error { v, err := ours(); us = append(us, v); return err },
			func() error { v, err := baseline(); them = append(them, v); return err },
		}
		if turn%2 == 1 {
			slices.Reverse(order)
		}
		for _, side := range order {
			if err := side(); err != nil {
				return comparison{}, err
			}
		}
		ratios = append(ratios, us[turn]/them[turn])
	}
	return comparison{median(us), median(them), median(ratios)}, nil
}

func median(vs []float64) float64 { return quantile(vs, 0.5) }

// quantile returns the value that a fraction q of vs does not exceed.
func quantile(vs []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(vs))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

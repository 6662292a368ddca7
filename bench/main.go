// Command bench measures Rollcall and prints each figure beside its target.
//
//	go run ./bench [-run REGEXP] [-short] [-scale N] [-profile DIR]
//
// Every measurement compares: ours with a baseline that does the least that could do the same work, or
// the large with the small. The two sides of a comparison run in turns, ours, baseline, ours, baseline,
// and the ratio is the median of the turns' ratios, so that what else the machine does hits both alike.
// Absolute figures move with the machine; the ratios are what the targets are about.
//
//	measurements   list of all that is measured, in the order of the table; a file each
//	node, names,   the roles: this program again, in a process of its own, so that the CPU time and the
//	fill, restart  memory of a server are the server's alone (role.go starts them)
//	load.go        the load generators; sign.go makes the requests that they send, by AWS's own client
//	table.go       figures, targets, and how they are printed
//
// A target that is missed is printed, not an error. The table goes to stdout, progress to stderr.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"syscall"

	"github.com/bakingclouds/rollcall/internal/agent/process"
)

// sizes are how much each measurement does.
type sizes struct {
	turns int // of each comparison

	registerAlone, registerMany int // requests a turn, of one client and of many
	clients                     int // that are many
	discover                    int // requests a turn
	queries                     int // DNS queries a turn
	visible                     int // registrations, each followed by a query

	large, small    int // instances in a service, for the cost of one more
	all, few        int // instances in the directory, for the cost of an answer
	each            int // instances of one service of these
	changes, answer int // calls a turn

	fakes, processes, containers int // tasks that are started at once
	containerTurns               int

	scale int // instances that a restart finds

	fleet  int // tasks of a large service
	passes int // pairs of changes of one task a turn
}

var (
	fullSizes = sizes{
		turns:         9,
		registerAlone: 500, registerMany: 4000, clients: 128, discover: 8000, queries: 100_000, visible: 2000,
		large: 100_000, small: 100, all: 1_000_000, few: 1000, each: 100, changes: 20_000, answer: 200_000,
		fakes: 1000, processes: 200, containers: 50, containerTurns: 5, scale: 100_000, fleet: 10_000, passes: 20_000,
	}
	shortSizes = sizes{
		turns:         3,
		registerAlone: 200, registerMany: 2000, clients: 128, discover: 3000, queries: 40_000, visible: 500,
		large: 100_000, small: 100, all: 1_000_000, few: 1000, each: 100, changes: 10_000, answer: 100_000,
		fakes: 200, processes: 30, containers: 50, containerTurns: 3, scale: 20_000, fleet: 10_000, passes: 5000,
	}
)

// bench is one run.
type bench struct {
	sizes
	progress io.Writer
	profile  string // folder for profiles of the roles; empty: none
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.progress, format+"\n", args...) }

// measurements are all, in the order of the table. Each returns rows of it.
var measurements = []struct {
	name string
	run  func(context.Context, *bench) ([]row, error)
}{
	{"register", measureRegister},
	{"discover", measureDiscover},
	{"dns", measureDNS},
	{"growth", measureGrowth},
	{"directory", measureDirectory},
	{"planner", measurePlanner},
	{"visible", measureVisible},
	{"tasks", measureTasks},
	{"containers", measureContainers},
	{"scale", measureScale},
}

func main() {
	if status, ok := process.Main(os.Args[1:]); ok { // the supervisor of tasks that are processes
		os.Exit(status)
	}
	if status, ok := roleMain(os.Args[1:]); ok {
		os.Exit(status)
	}
	only := flag.String("run", "", "measure only what this `regexp` matches: register, discover, dns, growth, directory, planner, visible, tasks, containers, scale")
	short := flag.Bool("short", false, "measure less, in less time")
	scale := flag.Int("scale", 0, "how many `instances` a restart finds (default 100,000; the targets are about 1,000,000)")
	profile := flag.String("profile", "", "write profiles of the measured processes into this `folder`, by role")
	flag.Parse()
	match, err := regexp.Compile(*only)
	if err != nil || flag.NArg() > 0 || *scale < 0 {
		fmt.Fprintln(os.Stderr, "bench: usage: bench [-run REGEXP] [-short] [-scale N] [-profile DIR]")
		os.Exit(2)
	}
	b := &bench{sizes: fullSizes, progress: os.Stderr, profile: *profile}
	if *short {
		b.sizes = shortSizes
	}
	if *scale > 0 {
		b.sizes.scale = *scale
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = b.run(ctx, match, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// run measures what matches and prints the table.
func (b *bench) run(ctx context.Context, match *regexp.Regexp, out io.Writer) error {
	var rows []row
	for _, m := range measurements {
		if !match.MatchString(m.name) {
			continue
		}
		b.say("%s …", m.name)
		more, err := m.run(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		rows = append(rows, more...)
	}
	fmt.Fprintf(out, "%d cores, %s %s/%s, medians of %d turns\n\n", runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, b.turns)
	return print(out, rows)
}

// Command bench measures Rollcall and prints each figure next to its target.
//
//	go run ./bench [-run REGEXP] [-short] [-scale N] [-profile DIR]
//
// Each measurement is a comparison: Rollcall with a baseline that does the least work for the same result, or a large
// data set with a small one. The two sides run in turns, and the ratio is the median of the turns' ratios, so that
// other load on the machine affects both. Absolute figures depend on the machine; the targets are about the ratios.
//
//	measurements   the list of all measurements, in the order of the table; one file each
//	node, names,   the roles: this program in a separate process, so that the CPU time and memory of a server are
//	fill, restart  measured alone (role.go starts them)
//	load.go        the load generators; sign.go creates their requests with AWS's own client
//	table.go       figures, targets, and their output
//
// A missed target is printed; it is not an error. The table goes to stdout, progress to stderr.
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

// sizes are the sizes of the measurements.
type sizes struct {
	turns int // per comparison

	registerAlone, registerMany int // requests per turn, for one client and for many
	clients                     int // number of the many clients
	discover                    int // requests per turn
	queries                     int // DNS queries per turn
	visible                     int // registrations, each followed by a query

	large, small    int // instances in a service, for the cost of one more
	all, few        int // instances in the directory, for the cost of an answer
	each            int // instances per service of these directories
	changes, answer int // calls per turn

	fakes, processes, containers int // tasks that are started at once
	containerTurns               int

	scale int // instances at a restart

	serviceTasks int // tasks of a large service
	taskChanges  int // pairs of changes to one task, per turn
}

var (
	fullSizes = sizes{
		turns:         9,
		registerAlone: 500, registerMany: 4000, clients: 128, discover: 8000, queries: 100_000, visible: 2000,
		large: 100_000, small: 100, all: 1_000_000, few: 1000, each: 100, changes: 20_000, answer: 200_000,
		fakes: 1000, processes: 200, containers: 50, containerTurns: 5, scale: 100_000,
		serviceTasks: 10_000, taskChanges: 20_000,
	}
	shortSizes = sizes{
		turns:         3,
		registerAlone: 200, registerMany: 2000, clients: 128, discover: 3000, queries: 40_000, visible: 500,
		large: 100_000, small: 100, all: 1_000_000, few: 1000, each: 100, changes: 10_000, answer: 100_000,
		fakes: 200, processes: 30, containers: 50, containerTurns: 3, scale: 20_000,
		serviceTasks: 10_000, taskChanges: 5000,
	}
)

// bench is one run.
type bench struct {
	sizes
	progress io.Writer
	profile  string // folder for profiles of the roles; empty disables them
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.progress, format+"\n", args...) }

// measurements lists all measurements in the order of the table. Each returns rows of the table.
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
	if status, ok := process.Main(os.Args[1:]); ok { // the supervisor of process tasks
		os.Exit(status)
	}
	if status, ok := roleMain(os.Args[1:]); ok {
		os.Exit(status)
	}
	only := flag.String("run", "",
		"run only measurements that match this `regexp`: register, discover, dns, growth, directory, planner, visible, "+
			"tasks, containers, scale")
	short := flag.Bool("short", false, "use fewer repetitions")
	scale := flag.Int("scale", 0, "number of `instances` at a restart (default 100,000; the targets are for 1,000,000)")
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

// run runs the matching measurements and prints the table.
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
	fmt.Fprintf(out, "%d cores, %s %s/%s, medians of %d turns\n\n", runtime.NumCPU(), runtime.Version(), runtime.GOOS,
		runtime.GOARCH, b.turns)
	return print(out, rows)
}

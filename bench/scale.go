package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/bakingclouds/rollcall/internal/app"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
)

// measureScale fills a data folder, starts a server on it, and measures the time until DNS answers and then its memory.
// The files are in the page cache, as after a restart of the process, not of the machine.
func measureScale(ctx context.Context, b *bench) ([]row, error) {
	dir, err := os.MkdirTemp("", "rollcall-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	args := roleArgs{Dir: dir, Instances: b.scale, Each: min(b.each, b.scale), Profile: b.profile}
	b.say("  writing %s instances", grouped(int64(b.scale)))
	var done string
	p, err := start(ctx, "fill", args, &done)
	if err != nil {
		return nil, err
	}
	if err := p.stop(); err != nil {
		return nil, err
	}
	// The first start frees the space of deleted rows; the second one is typical.
	b.say("  restarting")
	if _, err := b.restart(ctx, args); err != nil {
		return nil, err
	}
	got, err := b.restart(ctx, args)
	if err != nil {
		return nil, err
	}
	n := grouped(int64(b.scale))
	rows := []row{{
		what: "Cold start until DNS answers, " + n + " instances", ours: number(got.took.Seconds()) + " s",
		figure: got.took.Seconds(),
		target: target{atMost, 15, " s"}, bound: "CPU: decoding rows, etcd's range reads, garbage collection",
	}, {
		what: "  CPU time of the start, a pause, and the stop", ours: number(got.cpu.Seconds()) + " s",
		figure: got.cpu.Seconds(), target: target{unit: " s"},
	}}
	if got.memory == nil {
		b.say("  skipping memory: this system has no /proc/PID/smaps_rollup")
		return rows, nil
	}
	for _, m := range []struct {
		kind, key string
		limit     float64
	}{{"anonymous", "Anonymous", 1.5}, {"resident", "Rss", 2.5}} {
		kib := got.memory[m.key]
		rows = append(rows, row{
			what: fmt.Sprintf("  memory per instance, %s, of %s instances", m.kind, n), ours: number(kib/1024) + " MiB",
			figure: kib / float64(b.scale), target: target{atMost, m.limit, " KiB"},
			bound: "etcd's index and pages, rows, directory",
		})
	}
	return rows, nil
}

// settling is the pause between the start of a server and the measurement of its memory, in which the server releases
// the memory of the start.
const settling = 10 * time.Second

// restarted is the result of a restart.
type restarted struct {
	took   time.Duration
	cpu    time.Duration      // of the whole run, including its end
	memory map[string]float64 // KiB, by the names of proc_pid_smaps(5); nil if the system has no such file
}

func (b *bench) restart(ctx context.Context, args roleArgs) (got restarted, err error) {
	begun := time.Now()
	var dns string
	p, err := start(ctx, "restart", args, &dns)
	if err != nil {
		return restarted{}, err
	}
	defer func() {
		err = errors.Join(err, p.stop())
		got.cpu = p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	}()
	last := serviceLabel(args.Instances/args.Each-1) + "." + namespaceName
	found, err := addresses(dns, last)
	if err != nil {
		return restarted{}, err
	}
	if len(found) != min(args.Each, 8) {
		return restarted{}, fmt.Errorf("%s has %d addresses after the restart, want %d", last, len(found), min(args.Each, 8))
	}
	got.took = time.Since(begun)
	time.Sleep(settling)
	got.memory, err = memoryOf(p.cmd.Process.Pid)
	return got, err
}

// memoryOf returns the memory of a process, or nil if the system has no such file.
func memoryOf(pid int) (map[string]float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	kib := map[string]float64{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.HasSuffix(value, " kB") {
			if n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(value, " kB")), 64); err == nil {
				kib[name] = n
			}
		}
	}
	return kib, lines.Err()
}

// runRestart runs the server unchanged.
func runRestart(ctx context.Context, args roleArgs, ready func(any)) error {
	os.Setenv("XDG_RUNTIME_DIR", args.Dir) // keeps the file by which commands find the user's own server
	cfg := app.Default()
	cfg.DataDir, cfg.API, cfg.DNS, cfg.Runtime = args.Dir, "127.0.0.1:0", []string{"127.0.0.1:0"}, app.RuntimeNone
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	a, err := app.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer a.Stop()
	ready(a.Info().DNS[0])
	<-ctx.Done()
	return nil
}

const (
	// perTx is the number of instances per transaction: a third of what fits into etcd's largest request, 1.5 MiB, so
	// that it also succeeds on a busy machine.
	perTx = 300
	// perReap is the number of operations that one transaction deletes; each one scans all that remain.
	perReap = 5000
	// fillers is the number of concurrent transactions.
	fillers = 4
	// tries is the number of attempts of a transaction that times out on a busy machine.
	tries = 30
)

// turnover is greater than the number of log entries between two snapshots of etcd.
const turnover = 12_000

// runFill writes instances and leaves the state of a server that has run for a long time: a compacted history, a log of
// short entries, and the operations of the last day, here for one instance in ten, which for a million instances is the
// maximum that is kept.
func runFill(ctx context.Context, args roleArgs, ready func(any)) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	node, err := open(ctx, args.Dir, log)
	if err != nil {
		return err
	}
	defer node.close()
	db := node.db
	services, err := createServices(ctx, db, args.Instances/args.Each)
	if err != nil {
		return err
	}
	now := time.Now()
	longAgo := now.Add(-2 * registry.OperationRetention)
	var g errgroup.Group
	g.SetLimit(fillers)
	for from := 0; from < args.Instances; from += perTx {
		g.Go(func() error {
			_, err := persist(ctx, db, func(tx *store.Tx) (struct{}, error) {
				for i := from; i < min(from+perTx, args.Instances); i++ {
					at := longAgo
					if i%10 == 0 {
						at = now
					}
					service := services[min(i/args.Each, len(services)-1)]
					if _, err := registry.RegisterInstance(tx, scope, instanceSpec(service, i), registry.NewCall(at)); err != nil {
						return struct{}{}, err
					}
				}
				return struct{}{}, nil
			})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for more := true; more; {
		more, err = persist(ctx, db, func(tx *store.Tx) (bool, error) {
			return registry.ReapOperations(tx, region, now, perReap), nil
		})
		if err != nil {
			return err
		}
	}
	client, err := node.engine.Client()
	if err != nil {
		return err
	}
	if args.Instances >= turnover { // a smaller fill fits into one log
		if err := turnLogOver(ctx, client); err != nil {
			return err
		}
	}
	ready("filled")
	<-ctx.Done()
	return nil
}

// turnLogOver makes etcd drop the large transactions from its log, which it would otherwise keep in memory and read
// again at the next start.
func turnLogOver(ctx context.Context, client *clientv3.Client) error {
	var g errgroup.Group
	g.SetLimit(64)
	for range turnover {
		g.Go(func() error {
			_, err := client.Put(ctx, "/bare/turnover", strings.Repeat("-", 400))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	resp, err := client.Delete(ctx, "/bare/turnover")
	if err != nil {
		return err
	}
	_, err = client.Compact(ctx, resp.Header.Revision, clientv3.WithCompactPhysical())
	return err
}

func createServices(ctx context.Context, db *store.Store, n int) (ids []string, err error) {
	op, err := store.Update(ctx, db, func(tx *store.Tx) (*registry.Operation, error) {
		return registry.CreateNamespace(tx, scope, registry.NamespaceSpec{Kind: registry.Private, Name: namespaceName,
			VPC: "vpc-bench"}, registry.NewCall(time.Now()))
	})
	if err != nil {
		return nil, err
	}
	for len(ids) < n {
		more, err := store.Update(ctx, db, func(tx *store.Tx) (more []string, err error) {
			for k := len(ids); k < min(len(ids)+perTx, n); k++ {
				svc, err := registry.CreateService(tx, scope,
					registry.ServiceSpec{NamespaceID: op.Targets.Namespace, Name: serviceLabel(k),
						HasDNS: true, Records: []registry.Record{{Type: registry.A, TTL: 60}}, CustomHealth: true}, registry.NewCall(
						time.Now()))
				if err != nil {
					return nil, err
				}
				more = append(more, svc.ID)
			}
			return more, nil
		})
		if err != nil {
			return nil, err
		}
		ids = append(ids, more...)
	}
	return ids, nil
}

// persist is store.Update for idempotent changes. It retries if a busy machine was too slow.
func persist[R any](ctx context.Context, db *store.Store, fn func(*store.Tx) (R, error)) (result R, err error) {
	for range tries {
		if result, err = store.Update(ctx, db, fn); !fault.Is(err, fault.Unavailable) {
			break
		}
	}
	return result, err
}

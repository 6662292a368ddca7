package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/bakingclouds/rollcall/internal/app"
)

// serveFlags holds the flags of serve and demo.
type serveFlags struct {
	cfg       app.Config
	vpcs      []string
	logFormat string
	logLevel  string
	stopTasks bool
}

// register adds the flags to cmd. keepsData means that the command keeps its data folder, so --data is one of them.
func (f *serveFlags) register(cmd *cobra.Command, keepsData bool) {
	f.cfg = app.Default()
	fs := cmd.Flags()
	fs.SortFlags = false
	if keepsData {
		fs.StringVar(&f.cfg.DataDir, "data", f.cfg.DataDir, "data folder")
	}
	fs.StringVar(&f.cfg.API, "api", f.cfg.API, "listen address of the API, host:port")
	fs.StringArrayVar(&f.cfg.DNS, "dns", f.cfg.DNS, "listen address of DNS over UDP and TCP, host:port (repeatable)")
	fs.StringVar(&f.cfg.Runtime, "runtime", f.cfg.Runtime,
		"task runtime: docker, process, none, or auto (docker if an engine is available, else process)")
	fs.StringSliceVar(&f.cfg.Etcd, "etcd", nil, "endpoints of an external etcd cluster (default: embedded etcd)")
	fs.StringVar(&f.cfg.Account, "account", f.cfg.Account, "account id, 12 digits")
	fs.StringVar(&f.cfg.Region, "region", f.cfg.Region, "default region of clients, as set by rollcall env")
	fs.StringArrayVar(&f.vpcs, "vpc", nil,
		"a VPC: ID=NETWORK,…,SUBNET-ID,… (repeatable; default: every VPC id contains all clients)")
	fs.StringVar(&f.cfg.Node, "node", f.cfg.Node,
		"name of this node, unique in the etcd cluster (default: the stored name, initially the host name)")
	fs.TextVar(&f.cfg.NodeAddress, "node-address", f.cfg.NodeAddress,
		"address of tasks in bridge and host mode (default: docker: this machine's source address; process: 127.0.0.1)")
	fs.IntVar(&f.cfg.NodeCPU, "node-cpu", 0,
		"CPU units that tasks may reserve, 1024 per core (default: the machine's; at least 65536 without --etcd)")
	fs.IntVar(&f.cfg.NodeMemory, "node-memory", 0,
		"memory in MiB that tasks may reserve (default: the machine's)")
	fs.DurationVar(&f.cfg.NodeGrace, "node-grace", f.cfg.NodeGrace,
		"time after which the tasks of a lost node are replaced on other nodes; 0 disables this")
	fs.DurationVar(&f.cfg.DrainCap, "drain-cap", f.cfg.DrainCap,
		"longest time between a task's removal from answers and its SIGTERM")
	fs.StringSliceVar(&f.cfg.Upstreams, "upstream", nil,
		"resolvers for names outside of Rollcall's zones, ip or ip:port (default: the host's)")
	fs.StringVar(&f.logFormat, "log-format", "text", "log format: text or json")
	fs.StringVar(&f.logLevel, "log-level", "info", "log level: debug, info, warn or error")
}

// config returns the validated configuration. The server logs to w.
func (f *serveFlags) config(cmd *cobra.Command, w io.Writer) (app.Config, error) {
	if err := fromEnvironment(cmd.Flags()); err != nil {
		return app.Config{}, err
	}
	for _, s := range f.vpcs {
		v, err := app.ParseVPC(s)
		if err != nil {
			return app.Config{}, usageError{err}
		}
		f.cfg.VPCs = append(f.cfg.VPCs, v)
	}
	log, err := newLogger(w, f.logFormat, f.logLevel)
	if err != nil {
		return app.Config{}, usageError{err}
	}
	f.cfg.Logger, f.cfg.Version = log, version
	if err := f.cfg.Validate(); err != nil {
		return app.Config{}, usageError{err}
	}
	return f.cfg, nil
}

func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var min slog.Level
	if err := min.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: choose debug, info, warn or error", level)
	}
	opts := &slog.HandlerOptions{Level: min}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, fmt.Errorf("--log-format %q: choose text or json", format)
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server: API, DNS, control loops and tasks",
		Long: "Run the server: API, DNS, control loops and tasks.\n\n" +
			"You can also set each flag with an environment variable, for example --log-level with ROLLCALL_LOG_LEVEL.\n" +
			"SIGTERM stops the server. Its tasks keep running, and the next server adopts them, unless you set --stop-tasks.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.config(cmd, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg, f.stopTasks, cmd.OutOrStdout())
		},
	}
	f.register(cmd, true)
	cmd.Flags().BoolVar(&f.stopTasks, "stop-tasks", false, "stop the tasks when the server stops")
	return cmd
}

// serve runs a server until ctx is done or a part of the server fails.
func serve(ctx context.Context, cfg app.Config, stopTasks bool, out io.Writer) error {
	a, err := app.Start(ctx, cfg)
	if err != nil {
		return unlessInterrupted(ctx, err)
	}
	defer func() {
		if stopTasks {
			a.StopTasks()
		} else {
			a.Stop()
		}
	}()
	printAddresses(out, a.Info())
	fmt.Fprintf(out, "ready: eval \"$(rollcall env --data %s)\" sets up the AWS CLI and SDKs\n", cfg.DataDir)
	select {
	case <-ctx.Done():
		return nil
	case err := <-a.Failed():
		return err
	}
}

// unlessInterrupted returns the error of a start, or nil if a signal has canceled ctx, which counts as a clean stop.
func unlessInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func printAddresses(out io.Writer, info app.Info) {
	fmt.Fprintf(out, "API   %s (account %s, region %s)\n", info.API, info.Account, info.Region)
	for _, dns := range info.DNS {
		fmt.Fprintf(out, "DNS   %s (UDP and TCP)\n", dns)
	}
	fmt.Fprintf(out, "data  %s\n", info.DataDir)
	fmt.Fprintf(out, "tasks %s (%s)\n", info.Runtime, info.Why)
	if info.Resolver != "" {
		fmt.Fprintf(out, "note  tasks can resolve names only at $ROLLCALL_DNS, not through the C library: %s\n",
			info.Resolver)
	}
}

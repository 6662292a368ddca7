package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/bakingclouds/rollcall/internal/app"
	"github.com/bakingclouds/rollcall/internal/demo"
)

func newDemo() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a server on a temporary data folder and deploy two sample services",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.config(cmd, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return runDemo(cmd.Context(), cfg, cmd.OutOrStdout())
		},
	}
	f.register(cmd, false)
	cmd.Flags().Lookup("log-level").DefValue = "warn"
	f.logLevel = "warn" // the demo prints its progress itself
	return cmd
}

// runDemo starts a server, deploys the samples, waits for ctx, and removes everything.
func runDemo(ctx context.Context, cfg app.Config, out io.Writer) error {
	dir, err := os.MkdirTemp("", "rollcall-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cfg.DataDir = dir
	fmt.Fprintln(out, "starting the server")
	a, err := app.Start(ctx, cfg)
	if err != nil {
		return unlessInterrupted(ctx, err)
	}
	defer func() {
		fmt.Fprintln(out, "stopping the tasks and the server")
		a.StopTasks()
	}()
	printAddresses(out, a.Info())
	done, err := demo.Deploy(ctx, a.Info().API, cfg.Region, a.Keys(), out)
	if err != nil {
		return unlessInterrupted(ctx, fmt.Errorf("deploy the sample services: %w", err))
	}
	printTour(out, a.Info(), done)
	fmt.Fprintln(out, "ready: press Ctrl-C to remove everything")
	select {
	case <-ctx.Done():
		return nil
	case err := <-a.Failed():
		return err
	}
}

// printTour prints commands to try in another terminal.
func printTour(out io.Writer, info app.Info, done demo.Result) {
	host, port, _ := net.SplitHostPort(info.DNS[0]) // valid: the server listens on it
	fmt.Fprintf(out, `
The backend resolved the worker's name and returned:
  %s

Try these commands in another terminal:
  dig @%s -p %s worker.%s
  curl %s
  eval "$(%s env --data %s)"
  aws ecs update-service --service worker --desired-count 5
  aws servicediscovery discover-instances --namespace-name %s --service-name worker

`, done.Response, host, port, demo.Namespace, done.BackendURL, os.Args[0], info.DataDir, demo.Namespace)
}

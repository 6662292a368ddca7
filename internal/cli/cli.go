// Package cli implements the command line. It translates flags and environment variables into calls, and errors into
// one line and an exit status. Command names, flags and exit statuses are a contract that scripts rely on.
//
// Each command has its own file. The commands contain no decisions: `serve` and `demo` start an [app.App]; the others
// find a running server through the file that it writes to its data folder ([app.Find]), and call its API.
// [Reference] describes every command and flag; docs/reference.md is generated from it.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit statuses.
const (
	exitOK      = 0
	exitFailure = 1 // one line on stderr contains the cause and a remedy
	exitUsage   = 2 // the command line is invalid
)

// Set by the linker in releases (make build).
var (
	version = "dev"
	commit  = ""
)

// usageError is the error of an invalid command line.
type usageError struct{ error }

// Main runs one command line and returns the exit status. The first SIGINT or SIGTERM cancels the command's context; a
// second one kills the process.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "rollcall: %v\n", err)
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "rollcall",
		Short:         "Amazon ECS Service Discovery on any machine",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q; rollcall help lists the commands", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; %s --help lists the flags", err, cmd.CommandPath())}
	})
	root.AddCommand(newServe(), newDemo(), newEnv(), newAWS(), newLookup(), newStatus(), newLogs(), newLeftovers(),
		newVersion(), newSample())
	return root
}

// noArgs rejects all arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments, but got %q", cmd.CommandPath(), args[0])}
	}
	return nil
}

// fromEnvironment sets every flag that is absent from the command line from its ROLLCALL_… variable.
func fromEnvironment(flags *pflag.FlagSet) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := variableOf(f)
		if v, ok := os.LookupEnv(name); ok && !f.Changed {
			if err := flags.Set(f.Name, v); err != nil {
				errs = append(errs, usageError{fmt.Errorf("%s: %w", name, err)})
			}
		}
	})
	return errors.Join(errs...)
}

// variableOf returns the environment variable that sets a flag.
func variableOf(f *pflag.Flag) string {
	return "ROLLCALL_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and Go version",
		Args:  noArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintf(cmd.OutOrStdout(), "rollcall %s, commit %s, %s %s/%s\n",
				version, revision(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	}
}

// revision returns the commit that this binary was built from.
func revision() string {
	if commit != "" {
		return commit
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/bakingclouds/rollcall/internal/agent/docker/leftovers"
	"github.com/bakingclouds/rollcall/internal/app"
)

func newLeftovers() *cobra.Command {
	var data string
	var remove bool
	cmd := &cobra.Command{
		Use:   "leftovers",
		Short: "List or remove what deleted data folders left in the Docker Engine",
		Long: "List or remove what deleted data folders left in the Docker Engine: containers, networks, volumes, and\n" +
			"unused images of other builds of rollcall. Objects without Rollcall's label are never touched, nor objects\n" +
			"of a data folder that exists, unless you name it with --data.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runLeftovers(cmd.Context(), cmd.OutOrStdout(), data, remove)
		},
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "remove everything that is listed")
	cmd.Flags().StringVar(&data, "data", "", "include the objects of this data folder; no server may be running on it")
	return cmd
}

func runLeftovers(ctx context.Context, out io.Writer, data string, remove bool) error {
	if data != "" {
		var err error
		if data, err = filepath.Abs(data); err != nil {
			return err
		}
		info, err := app.Find(data)
		if err == nil {
			return fmt.Errorf("a server is running on %s (pid %d); stop it first, with --stop-tasks to stop its tasks too",
				data, info.PID)
		}
		if !errors.Is(err, app.ErrNoServer) {
			return fmt.Errorf("check whether a server is running on %s: %w", data, err)
		}
	}
	found, err := leftovers.Find(ctx, "", data)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		fmt.Fprintln(out, "no leftovers found")
		return nil
	}
	shown := found
	if remove {
		shown, err = leftovers.Remove(ctx, "", found)
	}
	t := table(out)
	fmt.Fprintln(t, "KIND\tNAME\tDATA FOLDER\tWHY")
	for _, l := range shown {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", l.Kind, l.Name, l.Data, l.Why)
	}
	t.Flush()
	if remove {
		fmt.Fprintf(out, "removed %d of %d\n", len(shown), len(found))
		return err
	}
	fmt.Fprintln(out, "to remove all of these, run: rollcall leftovers --remove")
	return nil
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/bakingclouds/rollcall/internal/agent/docker"
	"github.com/bakingclouds/rollcall/internal/app"
)

func newLeftovers() *cobra.Command {
	var data string
	var remove bool
	cmd := &cobra.Command{
		Use:   "leftovers",
		Short: "List, or remove, what data folders that are gone have left in the Docker Engine",
		Long: "List, or remove, what data folders that are gone have left in the Docker Engine: containers, networks, volumes,\n" +
			"and the images of other builds of rollcall that nothing uses. Nothing without Rollcall's own label is touched,\n" +
			"nor what belongs to a data folder that is there, unless --data names it.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return leftovers(cmd.Context(), cmd.OutOrStdout(), data, remove)
		},
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "remove it all")
	cmd.Flags().StringVar(&data, "data", "", "a data folder whose containers are left over too; no server may run on it")
	return cmd
}

func leftovers(ctx context.Context, out io.Writer, data string, remove bool) error {
	if data != "" {
		var err error
		if data, err = filepath.Abs(data); err != nil {
			return err
		}
		info, err := app.Find(data)
		if err == nil {
			return fmt.Errorf("a server runs on %s (process %d): stop it first; rollcall serve --stop-tasks takes its tasks along", data, info.PID)
		}
		if !errors.Is(err, app.ErrNoServer) {
			return fmt.Errorf("whether a server runs on %s is not known: %w", data, err)
		}
	}
	found, err := docker.Leftovers(ctx, "", data)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		fmt.Fprintln(out, "nothing is left over")
		return nil
	}
	shown := found
	if remove {
		shown, err = docker.RemoveLeftovers(ctx, "", found)
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
	fmt.Fprintln(out, "rollcall leftovers --remove removes all of this")
	return nil
}

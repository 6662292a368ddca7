package cli

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/bakingclouds/rollcall/internal/sample"
)

// newSample runs the sample services. It is hidden because only task definitions use it.
func newSample() *cobra.Command {
	return &cobra.Command{
		Use:    "sample flask-worker | flask-backend | check URL",
		Short:  "Run a sample service",
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			err := sample.Run(cmd.Context(), args, os.Getenv, cmd.OutOrStdout())
			if errors.Is(err, sample.ErrUsage) {
				return usageError{err}
			}
			return err
		},
	}
}

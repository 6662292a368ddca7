package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/bakingclouds/rollcall/internal/api/inspect"
)

// followInterval is how long logs --follow waits before it asks again when there was nothing more.
const followInterval = 300 * time.Millisecond

func newLogs() *cobra.Command {
	var data, since, container string
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs SERVICE|TASK",
		Short: "Show what the tasks of a service, or one task, have printed",
		Long: "Show what the tasks of a service, or one task, have printed.\n\n" +
			"SERVICE is a name, CLUSTER/NAME or an ARN; TASK is an id, the beginning of one, or an ARN. Tasks that have\n" +
			"stopped are shown for as long as they can be described, an hour.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("%s takes the name of a service or the id of a task", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			from, err := sinceWhen(since, time.Now())
			if err != nil {
				return usageError{err}
			}
			c, err := inspector(data)
			if err != nil {
				return err
			}
			return showLogs(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), c, inspect.GetLogsInput{Target: args[0], Container: container, Since: from}, follow)
		},
	}
	dataFlag(cmd, &data)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as more is printed")
	cmd.Flags().StringVar(&since, "since", "", "only what came since then: a time such as 2026-01-31T12:00:00Z, or how long ago, such as 10m")
	cmd.Flags().StringVar(&container, "container", "", "only this container's")
	return cmd
}

// sinceWhen reads --since as Unix milliseconds; "" is ever.
func sinceWhen(s string, now time.Time) (int64, error) {
	if s == "" {
		return 0, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d).UnixMilli(), nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return 0, fmt.Errorf("--since %q: give a time such as 2026-01-31T12:00:00Z, or how long ago, such as 10m", s)
	}
	return at.UnixMilli(), nil
}

// retryInterval is how long logs --follow waits before it asks again when the server did not answer.
const retryInterval = time.Second

// showLogs prints lines until there are no more, or until ctx ends. Who follows goes on when the server has been away.
func showLogs(ctx context.Context, w, problems io.Writer, c *inspect.Client, in inspect.GetLogsInput, follow bool) error {
	answered, away := false, false
	for {
		out, err := c.Logs(ctx, in)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !(follow && answered) {
			return err
		}
		if err != nil {
			if !away {
				fmt.Fprintf(problems, "rollcall: %v; asking again\n", err)
			}
			away = true
			select {
			case <-time.After(retryInterval):
			case <-ctx.Done():
			}
			continue
		}
		answered, away = true, false
		for _, l := range out.Lines {
			if _, err := fmt.Fprintf(w, "%s %.8s %s  %s\n", time.UnixMilli(l.Time).UTC().Format("2006-01-02T15:04:05.000Z"), l.Task, l.Container, printable(l.Text)); err != nil {
				return err
			}
		}
		in.Positions = out.Positions
		if out.More {
			continue
		}
		if !follow || out.Ended {
			return nil
		}
		select {
		case <-time.After(followInterval):
		case <-ctx.Done():
			return nil
		}
	}
}

// printable is a line without control characters, but for tabs and the colours that programs print (ECMA-48, SGR): what
// a task prints must not be able to act on the terminal of who reads it.
func printable(s string) string {
	clean := make([]rune, 0, len(s))
	runes := []rune(s)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		if r == 0x1b {
			if n := colour(runes[i:]); n > 0 {
				clean = append(clean, runes[i:i+n]...)
				i += n - 1
			}
			continue
		}
		if r == '\t' || r >= ' ' && r != 0x7f && (r < 0x80 || r > 0x9f) {
			clean = append(clean, r)
		}
	}
	return string(clean)
}

// colour is the length of the SGR sequence that runes begin with, 0 when they begin with none.
func colour(runes []rune) int {
	if len(runes) < 3 || runes[1] != '[' {
		return 0
	}
	for i, r := range runes[2:] {
		switch {
		case r == 'm':
			return i + 3
		case r != ';' && (r < '0' || r > '9'):
			return 0
		}
	}
	return 0
}

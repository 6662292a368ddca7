package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/bakingclouds/rollcall/internal/api/inspect"
)

// followInterval is the pause of logs --follow when there are no new lines.
const followInterval = 300 * time.Millisecond

func newLogs() *cobra.Command {
	var data, since, container string
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs SERVICE|TASK",
		Short: "Show the output of a task, or of all tasks of a service",
		Long: "Show the output of a task, or of all tasks of a service.\n\n" +
			"SERVICE is a name, CLUSTER/NAME or an ARN. TASK is an id, a prefix of an id, or an ARN. The output of a stopped\n" +
			"task is available for one hour.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("%s takes the name of a service or the id of a task, as in rollcall logs worker",
					cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			from, err := parseSince(since, time.Now())
			if err != nil {
				return usageError{err}
			}
			c, err := inspector(data)
			if err != nil {
				return err
			}
			in := inspect.GetLogsInput{Target: args[0], Container: container, Since: from}
			return showLogs(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), c, in, follow)
		},
	}
	dataFlag(cmd, &data)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "keep printing new lines")
	cmd.Flags().StringVar(&since, "since", "",
		"only lines after a time such as 2026-01-31T12:00:00Z, or within a duration such as 10m")
	cmd.Flags().StringVar(&container, "container", "", "only the output of this container")
	return cmd
}

// parseSince parses --since into Unix milliseconds. For an empty string it returns 0, which selects all lines.
func parseSince(s string, now time.Time) (int64, error) {
	if s == "" {
		return 0, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d).UnixMilli(), nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return 0, fmt.Errorf("--since %q must be a time such as 2026-01-31T12:00:00Z, or a duration such as 10m", s)
	}
	return at.UnixMilli(), nil
}

// retryInterval is the pause of logs --follow after a request that failed.
const retryInterval = time.Second

// showLogs prints lines until there are no more, or until ctx is done. With follow, it waits for new lines and, after
// the first response, retries while the server cannot be reached.
func showLogs(ctx context.Context, w, problems io.Writer, c *inspect.Client, in inspect.GetLogsInput,
	follow bool) error {
	answered, unreachable := false, false
	for ctx.Err() == nil {
		out, err := c.Logs(ctx, in)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !(follow && answered):
			return err
		case err != nil:
			if !unreachable {
				fmt.Fprintf(problems, "rollcall: %v; retrying\n", err)
			}
			unreachable = true
			wait(ctx, retryInterval)
			continue
		}
		answered, unreachable = true, false
		if err := printLines(w, out.Lines); err != nil {
			return err
		}
		in.Positions = out.Positions
		if out.More {
			continue
		}
		if !follow || out.Ended {
			return nil
		}
		wait(ctx, followInterval)
	}
	return nil
}

func printLines(w io.Writer, lines []inspect.LogLine) error {
	for _, l := range lines {
		at := time.UnixMilli(l.Time).UTC().Format("2006-01-02T15:04:05.000Z")
		if _, err := fmt.Fprintf(w, "%s %.8s %s  %s\n", at, l.Task, l.Container, printable(l.Text)); err != nil {
			return err
		}
	}
	return nil
}

// wait returns after d, or earlier when ctx is done.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// printable returns s without control characters, except tabs and color sequences (ECMA-48, SGR), so that the output
// of a task cannot control the user's terminal.
func printable(s string) string {
	clean := make([]rune, 0, len(s))
	runes := []rune(s)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		if r == 0x1b {
			if n := colorLength(runes[i:]); n > 0 {
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

// colorLength returns the length of the SGR sequence at the start of runes, or 0 if there is none.
func colorLength(runes []rune) int {
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

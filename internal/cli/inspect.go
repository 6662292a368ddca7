package cli

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bakingclouds/rollcall/internal/api/inspect"
)

// inspector returns a client of the running server.
func inspector(dataDir string) (*inspect.Client, error) {
	info, keys, err := findServer(dataDir)
	if err != nil {
		return nil, err
	}
	return &inspect.Client{URL: info.API, Region: info.Region, Keys: keys}, nil
}

func newLookup() *cobra.Command {
	var data, client string
	cmd := &cobra.Command{
		Use:   "lookup NAME [TYPE]",
		Short: "Show what DNS answers and why: each instance, in or out of the answer",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usageError{fmt.Errorf("%s takes a name and an optional record type, as in rollcall lookup worker.corp SRV",
					cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := inspector(data)
			if err != nil {
				return err
			}
			in := inspect.GetLookupInput{Name: args[0], Type: "A", Client: client}
			if len(args) == 2 {
				in.Type = args[1]
			}
			out, err := c.Lookup(cmd.Context(), in)
			if err != nil {
				return err
			}
			printLookup(cmd.OutOrStdout(), in, out)
			return nil
		},
	}
	dataFlag(cmd, &data)
	cmd.Flags().StringVar(&client, "client", "", "source address of the query (default: this machine)")
	return cmd
}

func printLookup(w io.Writer, in inspect.GetLookupInput, out *inspect.GetLookupOutput) {
	fmt.Fprintf(w, "%s %s: %s, %d in the answer\n", in.Name, in.Type, out.Rcode, len(out.Answer))
	t := table(w)
	for _, r := range out.Answer {
		fmt.Fprintf(t, "  %s.\t%d\t%s\t%s\n", r.Name, r.TTL, r.Type, r.Value)
	}
	t.Flush()
	for _, n := range out.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
	if out.Service == nil {
		return
	}
	fmt.Fprintf(w, "\nservice %s in namespace %s (%s)\n", out.Service.Name, out.Service.Namespace, out.Service.ID)
	if len(out.Service.Instances) == 0 {
		fmt.Fprintln(w, "  no instances are registered")
	}
	for _, i := range out.Service.Instances {
		part := "out"
		if i.In {
			part = "in"
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\n", part, i.ID, i.Address, i.Why, ago(i.Changed))
	}
	t.Flush()
}

func newStatus() *cobra.Command {
	var data string
	var watch bool
	var in inspect.GetStatusInput
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show clusters, services, namespaces and nodes at a glance",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := inspector(data)
			if err != nil {
				return err
			}
			if watch {
				return watchStatus(cmd.Context(), cmd.OutOrStdout(), c, in)
			}
			out, err := c.Status(cmd.Context(), in)
			if err != nil {
				return err
			}
			printStatus(cmd.OutOrStdout(), out)
			return nil
		},
	}
	dataFlag(cmd, &data)
	cmd.Flags().BoolVar(&watch, "watch", false, "refresh every second")
	cmd.Flags().BoolVar(&in.All, "all", false, "list every service of a namespace")
	return cmd
}

// watchStatus redraws the status every second until ctx is done.
func watchStatus(ctx context.Context, w io.Writer, c *inspect.Client, in inspect.GetStatusInput) error {
	const home, clearBelow = "\x1b[H", "\x1b[J"
	fmt.Fprint(w, "\x1b[2J")
	for {
		var screen bytes.Buffer
		if out, err := c.Status(ctx, in); err == nil {
			printStatus(&screen, out)
		} else if ctx.Err() != nil {
			return nil
		} else {
			fmt.Fprintf(&screen, "%v\n", err)
		}
		fmt.Fprint(w, home, screen.String(), clearBelow)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}

func printStatus(w io.Writer, out *inspect.GetStatusOutput) {
	for _, n := range out.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
	if out.Stale != nil {
		fmt.Fprintf(w, "STALE since %s: etcd cannot be reached; DNS and reads use the last known state\n\n",
			out.Stale.UTC().Format(time.RFC3339))
	}
	t := table(w)
	fmt.Fprintln(t, "NODE\tRUNTIME\tTASKS")
	for _, n := range out.Nodes {
		fmt.Fprintf(t, "%s\t%s\t%d\n", n.Name, n.Runtime, n.Tasks)
	}
	t.Flush()
	fmt.Fprintln(t, "\nSERVICE\tDESIRED\tRUNNING\tHEALTHY\tDRAINING\tDEFINITION\tROLLOUT")
	for _, s := range out.Services {
		fmt.Fprintf(t, "%s/%s/%s\t%d\t%d\t%d\t%d\t%s\t%s\n", s.Region, s.Cluster, s.Name,
			s.Desired, s.Running, s.Healthy, s.Draining, s.Definition, rollout(s))
	}
	t.Flush()
	printDrains(w, out)
	printNamespaces(w, out)
}

// printDrains lists the draining tasks: those whose address clients may still have cached.
func printDrains(w io.Writer, out *inspect.GetStatusOutput) {
	t := table(w)
	title := "\nDRAINING\tADDRESS\tTASK\tSIGTERM"
	for _, s := range out.Services {
		for _, d := range s.Drains {
			if title != "" {
				fmt.Fprintln(t, title)
				title = ""
			}
			fmt.Fprintf(t, "%s/%s/%s\t%s\t%s\tin %d s\n", s.Region, s.Cluster, s.Name, d.Address, d.Task, d.Left)
		}
	}
	t.Flush()
}

// printNamespaces lists each namespace, followed by its services.
func printNamespaces(w io.Writer, out *inspect.GetStatusOutput) {
	t := table(w)
	fmt.Fprintln(t, "\nNAMESPACE\tKIND\tSERVICES\tINSTANCES\tHEALTHY\tUNHEALTHY\tNOT READY\tDRAINING\tID")
	slices.SortFunc(out.Namespaces, func(a, b inspect.NamespaceStatus) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	for _, n := range out.Namespaces {
		fmt.Fprintf(t, "%s/%s\t%s\t%d\t%s\t%s\n", n.Region, n.Name, n.Kind, n.Services, columns(n.Counts), n.ID)
		for _, s := range n.Listed {
			fmt.Fprintf(t, "  %s\t\t\t%s\t%s\n", s.Name, columns(s.Counts), s.ID)
		}
		if more := int(n.Services) - len(n.Listed); more > 0 {
			fmt.Fprintf(t, "  and %d more (--all)\t\t\t\t\t\t\t\t\n", more)
		}
	}
	t.Flush()
	for _, n := range out.Namespaces {
		if n.Shadowed != "" {
			fmt.Fprintf(w, "warning: namespace %s (%s) has the same name and clients as the older %s, which answers instead\n",
				n.Name, n.ID, n.Shadowed)
		}
	}
}

func columns(c inspect.Counts) string {
	return fmt.Sprintf("%d\t%d\t%d\t%d\t%d", c.Instances(), c.Healthy, c.Unhealthy, c.NotReady, c.Draining)
}

// rollout returns the state of a service's deployment, with the share of desired tasks that are healthy as a bar.
func rollout(s inspect.ServiceStatus) string {
	if s.Status != "ACTIVE" {
		return s.Status
	}
	if s.Rollout == "COMPLETED" || s.Desired == 0 {
		return s.Rollout
	}
	const width = 10
	done := int(min(s.Updated, s.Desired) * width / s.Desired)
	bar := make([]byte, width)
	for i := range bar {
		bar[i] = '.'
		if i < done {
			bar[i] = '#'
		}
	}
	return fmt.Sprintf("%s [%s]", s.Rollout, bar)
}

func table(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// ago returns the time since t as text, or an empty string if t is nil.
func ago(t *time.Time) string {
	if t == nil {
		return ""
	}
	return time.Since(*t).Round(time.Second).String() + " ago"
}

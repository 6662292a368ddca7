package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bakingclouds/rollcall/internal/app"
)

// Reference returns docs/reference.md: every command with its flags and their environment variables, and every metric.
// The page is the same on every machine: defaults that depend on the machine are described, not computed.
func Reference() string {
	var b strings.Builder
	b.WriteString("# Reference: flags, environment variables, metrics and exit statuses\n\n" +
		"This page is generated from the program (`make reference`).\n")
	for _, cmd := range newRoot().Commands() {
		if !cmd.Hidden {
			writeCommand(&b, cmd)
		}
	}
	writeVariables(&b)
	writeTaskVariables(&b)
	writeMetrics(&b)
	b.WriteString("\n## Exit statuses\n\n| Status | Meaning |\n|---|---|\n" +
		"| 0 | success, or a clean stop after SIGINT or SIGTERM |\n" +
		"| 1 | a failure; one line on stderr gives the cause and what to do |\n" +
		"| 2 | wrong usage; one line on stderr describes the correct usage |\n")
	return b.String()
}

func writeCommand(b *strings.Builder, cmd *cobra.Command) {
	text := cmd.Short + "."
	if cmd.Long != "" {
		text = cmd.Long
	}
	fmt.Fprintf(b, "\n## rollcall %s\n\n%s\n", cmd.Use, text)
	if !cmd.Flags().HasFlags() {
		return
	}
	b.WriteString("\n| Flag | Default | Environment | Meaning |\n|---|---|---|---|\n")
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		flag := "--" + f.Name
		if f.Shorthand != "" {
			flag = "-" + f.Shorthand + ", " + flag
		}
		flag = strings.TrimSpace(flag + " " + placeholders[f.Value.Type()])
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", flag, defaultOf(f), variableCell(cmd, f), f.Usage)
	})
}

// placeholders are the names of flag values by type. A bool has none.
var placeholders = map[string]string{
	"string": "VALUE", "stringArray": "VALUE", "stringSlice": "LIST", "int": "N", "duration": "DURATION", "": "VALUE",
}

// defaultOf returns the default of a flag as a table cell. It is empty if the usage describes the default, or if the
// default is the zero value.
func defaultOf(f *pflag.Flag) string {
	switch {
	case f.Name == "data" && f.DefValue != "" && !strings.Contains(f.Usage, "(default"): // app.DefaultDataDir
		return "`/var/lib/rollcall` for root, else `$XDG_DATA_HOME/rollcall` or `~/.local/share/rollcall`"
	case strings.Contains(f.Usage, "(default"), f.DefValue == "", f.DefValue == "[]", f.DefValue == "false":
		return ""
	}
	return "`" + strings.Trim(f.DefValue, "[]") + "`"
}

// variableCell returns the environment variable of a flag as a table cell. serve and demo read a variable for each
// flag, the other commands only for --data.
func variableCell(cmd *cobra.Command, f *pflag.Flag) string {
	name := cmd.Name()
	if name == "serve" || name == "demo" || f.Name == "data" && name != "leftovers" {
		return "`" + variableOf(f) + "`"
	}
	return ""
}

func writeVariables(b *strings.Builder) {
	b.WriteString("\n## Other environment variables\n")
	writeTable(b, "Variable", "Read by", [][3]string{
		{"ROLLCALL_ACCESS_KEY_ID", "all commands", "the administrator's access key id; set together with the secret"},
		{"ROLLCALL_SECRET_ACCESS_KEY", "all commands", "the administrator's secret access key"},
		{"DOCKER_HOST", "`serve`, `leftovers`", "the address of the Docker Engine, as for `docker`"},
		{"DOCKER_CONFIG", "`serve`", "the folder of Docker's configuration with registry logins, as for `docker`"},
	})
}

func writeTaskVariables(b *strings.Builder) {
	b.WriteString(
		"\n## Environment variables of tasks\n\n" +
			"Rollcall sets these in the containers of a task, in addition to those of ECS " +
			"([compat/ecs.md](compat/ecs.md#inside-a-task)).\n")
	writeTable(b, "Variable", "Set for", [][3]string{
		{"ROLLCALL_ADDRESS", "tasks with an address", "the address of the task, which its instance is registered with"},
		{"ROLLCALL_PORT_N", "each container port N of a port mapping", "the port to listen on"},
		{"ROLLCALL_DNS", "all tasks", "the address of the DNS server, host:port"},
	})
}

func writeTable(b *strings.Builder, first, second string, rows [][3]string) {
	fmt.Fprintf(b, "\n| %s | %s | Meaning |\n|---|---|---|\n", first, second)
	for _, r := range rows {
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", r[0], r[1], r[2])
	}
}

func writeMetrics(b *strings.Builder) {
	b.WriteString(
		"\n## Metrics\n\nThe API serves metrics in the Prometheus format at `/metrics`, for clients on the same " +
			"machine. They include\nthose of the Go runtime (`go_…`) and of the process (`process_…`: CPU time, memory, " +
			"descriptors).\n\n| Metric | Labels | Meaning |\n|---|---|---|\n")
	for _, m := range app.Metrics() {
		labels := ""
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", m.Name, labels, strings.TrimSuffix(m.Help, "."))
	}
}

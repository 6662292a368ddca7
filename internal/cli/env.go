package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/app"
)

// A setting is an environment variable and its value.
type setting struct{ name, value string }

// settings returns the variables that direct AWS clients to a server (AWS SDKs and Tools Reference Guide, "Environment
// variables to configure AWS SDKs and tools"). docs/clients.md lists the clients that read each of them.
func settings(info app.Info, keys awsapi.Pair) []setting {
	return []setting{
		{"AWS_ENDPOINT_URL", info.API},
		{"AWS_ACCESS_KEY_ID", keys.AccessKeyID},
		{"AWS_SECRET_ACCESS_KEY", keys.Secret},
		{"AWS_REGION", info.Region},
		{"AWS_DEFAULT_REGION", info.Region},
		// SDKs prepend "data-" to the host of DiscoverInstances, and data-127.0.0.1 does not resolve.
		{"AWS_DISABLE_HOST_PREFIX_INJECTION", "true"},
		{"AWS_PAGER", ""},
	}
}

// overriding lists the variables that would take precedence over the settings or contradict them.
var overriding = []string{
	"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN",
	"AWS_ENDPOINT_URL_ECS", "AWS_ENDPOINT_URL_SERVICEDISCOVERY", "AWS_ENDPOINT_URL_ROUTE_53", "AWS_ENDPOINT_URL_STS",
	"AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
	"AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT",
}

func newEnv() *cobra.Command {
	var data string
	var wait time.Duration
	var readOnly bool
	cmd := &cobra.Command{
		Use:   "env",
		Short: `Print the settings that AWS clients need for the running server: eval "$(rollcall env)"`,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, keys, err := awaitServer(cmd.Context(), data, wait)
			if err != nil {
				return err
			}
			if readOnly {
				if keys, err = awsapi.ReadOnlyOf(keys); err != nil {
					return err
				}
			}
			printSettings(cmd.OutOrStdout(), settings(info, keys))
			if v, err := awsVersion(cmd.Context(), "aws"); err == nil && !v.readsSettings() {
				fmt.Fprintf(cmd.ErrOrStderr(), "rollcall: the installed aws (%v) is too old to read all of these settings; "+
					"use `rollcall aws …` instead of `aws …`\n", v)
			}
			return nil
		},
	}
	dataFlag(cmd, &data)
	cmd.Flags().BoolVar(&readOnly, "read-only", false, "print the read-only key")
	cmd.Flags().DurationVar(&wait, "wait", 0, "longest wait for a server that is starting")
	return cmd
}

// printSettings writes the settings as commands of a POSIX shell.
func printSettings(w io.Writer, all []setting) {
	fmt.Fprintf(w, "unset %s\n", strings.Join(overriding, " "))
	for _, s := range all {
		fmt.Fprintf(w, "export %s=%s\n", s.name, quote(s.value))
	}
}

// quote returns s as one word of a POSIX shell.
func quote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=+@,", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// dataVar is the environment variable that sets --data, also for commands that talk to a running server.
const dataVar = "ROLLCALL_DATA"

// dataFlag adds --data to a command that talks to a running server.
func dataFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "data", os.Getenv(dataVar),
		"data folder of the server (default: the running server of this user)")
}

// awaitServer calls findServer until it finds a server, or until wait has passed.
func awaitServer(ctx context.Context, dataDir string, wait time.Duration) (app.Info, awsapi.Pair, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		info, keys, err := findServer(dataDir)
		if !errors.Is(err, app.ErrNoServer) {
			return info, keys, err
		}
		select {
		case <-ctx.Done():
			return info, keys, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// findServer returns a running server and its administrator's key.
func findServer(dataDir string) (app.Info, awsapi.Pair, error) {
	info, err := app.Find(dataDir)
	if err != nil {
		return info, awsapi.Pair{}, err
	}
	keys, err := awsapi.Load(info.DataDir)
	if err != nil {
		return info, keys, fmt.Errorf("read the keys of the server in %s: %w", info.DataDir, err)
	}
	return info, keys, nil
}

// cliVersion is a version of the AWS CLI: major, minor, patch.
type cliVersion [3]int

func (v cliVersion) String() string { return fmt.Sprintf("aws-cli/%d.%d.%d", v[0], v[1], v[2]) }

// readsSettings reports whether this version reads all settings. AWS_ENDPOINT_URL was added in 1.29 and 2.13,
// AWS_DISABLE_HOST_PREFIX_INJECTION in March 2025 (botocore pull request 3405). The versions below are the first minor
// versions that certainly have both.
func (v cliVersion) readsSettings() bool {
	switch v[0] {
	case 1:
		return v[1] >= 39
	case 2:
		return v[1] >= 25
	}
	return v[0] > 2
}

var cliVersionText = regexp.MustCompile(`aws-cli/(\d+)\.(\d+)\.(\d+)`)

// awsVersion runs an AWS CLI with --version and returns its version.
func awsVersion(ctx context.Context, path string) (cliVersion, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil {
		return cliVersion{}, err
	}
	m := cliVersionText.FindSubmatch(out)
	if m == nil {
		return cliVersion{}, fmt.Errorf("parse the output of %s --version: %q", path, out)
	}
	var v cliVersion
	for i := range v {
		v[i], _ = strconv.Atoi(string(m[i+1])) // the pattern matches only digits
	}
	return v, nil
}

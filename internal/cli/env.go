package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/app"
)

// variables are what makes AWS's clients talk to a server.
func variables(info app.Info, keys awsapi.Pair) [][2]string {
	return [][2]string{
		{"AWS_ENDPOINT_URL", info.API},
		{"AWS_ACCESS_KEY_ID", keys.AccessKeyID},
		{"AWS_SECRET_ACCESS_KEY", keys.Secret},
		{"AWS_REGION", info.Region},
		{"AWS_DEFAULT_REGION", info.Region},
		// SDKs put "data-" before the host of DiscoverInstances, and data-127.0.0.1 is nowhere.
		{"AWS_DISABLE_HOST_PREFIX_INJECTION", "true"},
		{"AWS_PAGER", ""},
	}
}

// unset are variables that would win over those above.
var unset = []string{"AWS_PROFILE", "AWS_SESSION_TOKEN"}

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

func newEnv() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "env",
		Short: `Print what points AWS's clients at the running server: eval "$(rollcall env)"`,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, keys, err := findServer(data)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "unset %s\n", strings.Join(unset, " "))
			for _, v := range variables(info, keys) {
				fmt.Fprintf(cmd.OutOrStdout(), "export %s=%s\n", v[0], quote(v[1]))
			}
			if v, err := awsVersion(cmd.Context(), "aws"); err == nil && !v.knowsEndpointURL() {
				fmt.Fprintf(cmd.ErrOrStderr(), "rollcall: the installed aws (%v) is too old for AWS_ENDPOINT_URL: use `rollcall aws …`, or `aws --endpoint-url %s …`\n", v, info.API)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "data folder of the server (default: the one that is running)")
	return cmd
}

// quote makes a word of the shell.
func quote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=+@,", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func newAWS() *cobra.Command {
	return &cobra.Command{
		Use:                "aws …",
		Short:              "Run the AWS CLI against the running server",
		Long:               "Run the AWS CLI against the running server. All arguments are the AWS CLI's; `--data DIR` before them says which server.",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			data := ""
			switch {
			case len(args) > 0 && (args[0] == "--help" || args[0] == "-h"):
				return cmd.Help()
			case len(args) > 1 && args[0] == "--data":
				data, args = args[1], args[2:]
			case len(args) > 0 && strings.HasPrefix(args[0], "--data="):
				data, args = strings.TrimPrefix(args[0], "--data="), args[1:]
			}
			return runAWS(cmd, data, args)
		},
	}
}

func runAWS(cmd *cobra.Command, data string, args []string) error {
	info, keys, err := findServer(data)
	if err != nil {
		return err
	}
	path, err := exec.LookPath("aws")
	if err != nil {
		return fmt.Errorf("the AWS CLI (aws) is not installed; on Debian: apt-get install awscli")
	}
	if v, err := awsVersion(cmd.Context(), path); err == nil && !v.knowsEndpointURL() {
		args = append([]string{"--endpoint-url", info.API}, args...)
	}
	// The CLI decides how to end on a signal, as it does without Rollcall in front.
	c := exec.Command(path, args...)
	c.Env = awsEnviron(info, keys)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, cmd.OutOrStdout(), cmd.ErrOrStderr()
	err = c.Run()
	if exit, ok := err.(*exec.ExitError); ok {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return exitStatus(128 + int(ws.Signal()))
		}
		return exitStatus(exit.ExitCode())
	}
	return err
}

// awsEnviron is this process's environment with the server's settings in place of the user's.
func awsEnviron(info app.Info, keys awsapi.Pair) []string {
	set := variables(info, keys)
	drop := map[string]bool{}
	for _, name := range unset {
		drop[name] = true
	}
	for _, v := range set {
		drop[v[0]] = true
	}
	var env []string
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); !drop[name] {
			env = append(env, kv)
		}
	}
	for _, v := range set {
		env = append(env, v[0]+"="+v[1])
	}
	return env
}

// cliVersion is a version of the AWS CLI.
type cliVersion [3]int

func (v cliVersion) String() string { return fmt.Sprintf("aws-cli/%d.%d.%d", v[0], v[1], v[2]) }

// knowsEndpointURL: AWS_ENDPOINT_URL came with 1.29.0 and 2.13.0 (AWS CLI changelogs).
func (v cliVersion) knowsEndpointURL() bool {
	if v[0] == 1 {
		return v[1] >= 29
	}
	return v[0] > 2 || v[0] == 2 && v[1] >= 13
}

var cliVersionText = regexp.MustCompile(`aws-cli/(\d+)\.(\d+)\.(\d+)`)

// awsVersion asks an AWS CLI for its version.
func awsVersion(ctx context.Context, path string) (cliVersion, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil {
		return cliVersion{}, err
	}
	m := cliVersionText.FindSubmatch(out)
	if m == nil {
		return cliVersion{}, fmt.Errorf("%s --version says %q", path, out)
	}
	var v cliVersion
	for i := range v {
		v[i], _ = strconv.Atoi(string(m[i+1])) // digits, says the pattern
	}
	return v, nil
}

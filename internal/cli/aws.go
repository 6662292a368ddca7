package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/app"
)

func newAWS() *cobra.Command {
	return &cobra.Command{
		Use:   "aws …",
		Short: "Run the AWS CLI against the running server",
		Long: "Run the AWS CLI, of any release, against the running server. All arguments are passed to the AWS CLI.\n" +
			"To select a server, put `--data DIR` before them.",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && (args[0] == "--help" || args[0] == "-h") {
				return cmd.Help()
			}
			data, args, err := leadingData(args)
			if err != nil {
				return err
			}
			return becomeAWS(data, args)
		},
	}
}

// leadingData removes a leading --data DIR or --data=DIR from args. Without it, the folder comes from the environment.
func leadingData(args []string) (dir string, rest []string, err error) {
	if len(args) > 0 && args[0] == "--data" {
		if len(args) == 1 {
			return "", nil, usageError{errors.New("--data needs a folder")}
		}
		return args[1], args[2:], nil
	}
	if len(args) > 0 {
		if dir, ok := strings.CutPrefix(args[0], "--data="); ok {
			return dir, args[1:], nil
		}
	}
	return os.Getenv(dataVar), args, nil
}

// becomeAWS replaces this process with the AWS CLI, which then handles signals and the terminal and sets the exit
// status. It returns only if that fails.
func becomeAWS(dataDir string, args []string) error {
	info, keys, err := findServer(dataDir)
	if err != nil {
		return err
	}
	path, err := exec.LookPath("aws")
	if err != nil {
		return errors.New("the AWS CLI (aws) is not installed; on Debian: apt-get install awscli")
	}
	// Before the user's arguments, so that the user's --endpoint-url takes precedence.
	argv := append([]string{path, "--endpoint-url", info.API}, args...)
	return fmt.Errorf("start %s: %w", path, syscall.Exec(path, argv, awsEnviron(os.Environ(), info, keys)))
}

// awsEnviron returns environ with the user's AWS settings replaced by the server's.
//
// Old CLIs have no setting that disables the host prefix. For them the server is also the HTTP proxy: the CLI then
// requests http://data-127.0.0.1:7070/ from the proxy instead of resolving that name. The server accepts any host
// name, and an absolute URL as every HTTP server must (RFC 9112, section 3.2.2).
func awsEnviron(environ []string, info app.Info, keys awsapi.Pair) []string {
	set := append(settings(info, keys), setting{"HTTP_PROXY", info.API}, setting{"http_proxy", info.API})
	drop := append([]string{"NO_PROXY", "no_proxy"}, overriding...)
	for _, s := range set {
		drop = append(drop, s.name)
	}
	env := slices.DeleteFunc(slices.Clone(environ), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(drop, name)
	})
	for _, s := range set {
		env = append(env, s.name+"="+s.value)
	}
	return env
}

package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// awsCLI is an AWS CLI of this machine.
type awsCLI struct {
	version string // aws-cli/2.9.19
	path    string // of a search path on which it comes first
}

// awsCLIs lists the AWS CLIs on the search path, one of each version: on some machines an old one of the
// distribution stands behind a current one.
func awsCLIs(t *testing.T) (found []awsCLI) {
	t.Helper()
	seen := map[string]bool{}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		out, err := exec.Command(filepath.Join(dir, "aws"), "--version").CombinedOutput()
		version, _, _ := strings.Cut(string(out), " ")
		if err != nil || seen[version] || !strings.HasPrefix(version, "aws-cli/") {
			continue
		}
		seen[version] = true
		found = append(found, awsCLI{version, dir + string(filepath.ListSeparator) + os.Getenv("PATH")})
	}
	if len(found) == 0 {
		missing(t, "the AWS CLI")
	}
	return found
}

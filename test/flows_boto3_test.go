package test

import (
	"os/exec"
	"testing"
)

// TestEveryOperationInPython calls all operations that the machine's boto3 knows, with its paginators, and
// catches errors by the names that it makes of their codes.
func TestEveryOperationInPython(t *testing.T) {
	t.Parallel()
	if err := exec.Command(interpreter, "-c", "import boto3").Run(); err != nil {
		missing(t, "boto3 of "+interpreter)
	}
	s := serve(t, "--runtime", "none")
	cmd := exec.CommandContext(t.Context(), interpreter, "testdata/every_operation.py")
	cmd.Env = userEnviron("AWS_ENDPOINT_URL="+s.Info.API, "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID="+s.Keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+s.Keys.Secret)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

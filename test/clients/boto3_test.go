package clients

import (
	"os/exec"
	"testing"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestDocumentedPythonClient runs the Python program in docs/clients.md.
func TestDocumentedPythonClient(t *testing.T) {
	t.Parallel()
	if err := exec.Command(interpreter, "-c", "import boto3").Run(); err != nil {
		harness.SkipMissing(t, "boto3 of "+interpreter)
	}
	_, environ := serveCart(t)
	cmd := exec.CommandContext(t.Context(), interpreter, "-c", codeOf(t, "python"))
	cmd.Env = environ
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "10.0.0.1\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// interpreter is the Python that the examples' task definitions name.
const interpreter = "/usr/bin/python3"

// TestBoto3Operations calls every operation that boto3 has, with its paginators, and catches errors by the names that
// boto3 derives from their codes.
func TestBoto3Operations(t *testing.T) {
	t.Parallel()
	if err := exec.Command(interpreter, "-c", "import boto3").Run(); err != nil {
		harness.SkipMissing(t, "boto3 of "+interpreter)
	}
	s := harness.Serve(t, "--runtime", "none")
	cmd := exec.CommandContext(t.Context(), interpreter, "testdata/every_operation.py")
	cmd.Env = harness.UserEnviron("AWS_ENDPOINT_URL="+s.Info.API, "AWS_REGION=us-east-1",
		"AWS_DEFAULT_REGION=us-east-1", "AWS_ACCESS_KEY_ID="+s.Keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+s.Keys.Secret)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

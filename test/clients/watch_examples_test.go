package clients

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestWatchExamples runs the watchers of examples/watch. Each must print every change.
func TestWatchExamples(t *testing.T) {
	t.Parallel()
	watcher := filepath.Join(t.TempDir(), "watch")
	if out, err := exec.Command("go", "build", "-o", watcher, "../../examples/watch").CombinedOutput(); err != nil {
		t.Fatalf("build examples/watch: %v: %s", err, out)
	}
	python := "/usr/bin/python3"
	for name, command := range map[string][]string{
		"go":    {watcher, "shop", "cart"},
		"boto3": {python, "../../examples/watch/watch.py", "shop", "cart"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "boto3" {
				requireBoto3(t, python)
			}
			s := harness.Serve(t, "--runtime", "none")
			srv := s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 5)
			lines := startWatcher(s, s.Info.API, command)
			wantLine(t, lines, "0")
			s.RegisterInstance(*srv.Id, "a", map[string]string{"AWS_INSTANCE_IPV4": "192.0.2.1"})
			wantLine(t, lines, "1 192.0.2.1")
			s.RegisterInstance(*srv.Id, "b", map[string]string{"AWS_INSTANCE_IPV4": "192.0.2.2"})
			wantLine(t, lines, "2 192.0.2.1 192.0.2.2")
			harness.Must(s.CloudMap().UpdateInstanceCustomHealthStatus(t.Context(),
				&servicediscovery.UpdateInstanceCustomHealthStatusInput{ServiceId: srv.Id, InstanceId: aws.String("a"),
					Status: "UNHEALTHY"}))(t)
			wantLine(t, lines, "1 192.0.2.2")

			// AWS has no watch: there the same program polls.
			lines = startWatcher(s, withoutWatch(t, s.Info.API), command)
			wantLine(t, lines, "1 192.0.2.2")
			s.RegisterInstance(*srv.Id, "c", map[string]string{"AWS_INSTANCE_IPV4": "192.0.2.3"})
			wantLine(t, lines, "2 192.0.2.2 192.0.2.3")
		})
	}
}

// withoutWatch returns the URL of a proxy to a server's API. Its responses have no revision, like those of AWS.
func withoutWatch(t *testing.T, api string) string {
	t.Helper()
	target, err := url.Parse(api)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // which is signed
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Del("X-Rollcall-Revision")
			return nil
		},
	}
	srv := httptest.NewServer(proxy)
	t.Cleanup(srv.Close)
	return srv.URL
}

// requireBoto3 skips a test if the interpreter has no boto3. With CI=true it fails the test instead.
func requireBoto3(t *testing.T, python string) {
	t.Helper()
	if out, err := exec.Command(python, "-c", "import boto3").CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s has no boto3 (Debian: python3-boto3): %s", python, out)
		}
		t.Skipf("%s has no boto3 (Debian: python3-boto3)", python)
	}
}

// startWatcher runs a program with the environment of `rollcall env`, and returns a channel with the lines that it
// prints.
func startWatcher(s *harness.Server, endpoint string, command []string) <-chan string {
	s.T.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "AWS_") })
	cmd.Env = append(cmd.Env, "AWS_ENDPOINT_URL="+endpoint, "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID="+s.Keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+s.Keys.Secret)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		s.T.Fatal(err)
	}
	cmd.Stderr = s.Out
	if err := cmd.Start(); err != nil {
		s.T.Fatal(err)
	}
	lines := make(chan string, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for scan := bufio.NewScanner(stdout); scan.Scan(); {
			lines <- strings.TrimSpace(scan.Text())
		}
		close(lines)
	}()
	s.T.Cleanup(func() {
		cmd.Process.Kill()
		<-done
		cmd.Wait()
	})
	return lines
}

// wantLine waits for the next line of a watcher and compares it with want.
func wantLine(t *testing.T, lines <-chan string, want string) {
	t.Helper()
	select {
	case got, open := <-lines:
		if got != want || !open {
			t.Fatalf("the watcher printed %q (running: %v), want %q", got, open, want)
		}
	case <-time.After(3 * time.Minute):
		t.Fatalf("the watcher did not print %q within 3 minutes", want)
	}
}

package test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/agent/process"
	"github.com/bakingclouds/rollcall/internal/api/awsapi"
)

// noResolver says why tasks have no resolver of their own on this machine, or is nil: it takes port 53 on
// loopback addresses, and root or user namespaces for a private /etc/resolv.conf.
func noResolver(t *testing.T) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := net.ListenPacket("udp4", "127.127.255.54:53")
	if err != nil {
		return err
	}
	conn.Close()
	return process.CanMountResolver(ctx)
}

// TestFlaskOnServer runs the examples in Python as tasks. Backend and worker know nothing of Rollcall: the
// backend finds the worker by the C library's resolver, as any program does.
func TestFlaskOnServer(t *testing.T) {
	t.Parallel()
	needFlask(t)
	if why := noResolver(t); why != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("tasks have no resolver of their own: %v", why)
		}
		t.Skipf("tasks have no resolver of their own, which the examples in Python need: %v", why)
	}
	dir := t.TempDir()
	t.Cleanup(func() { endTasks(t, dir) })
	s, err := startBinary(t, built(t), dir) // the health checks run `rollcall`
	if err != nil {
		t.Fatal(err)
	}
	ns := s.Namespace("corp")
	for service, count := range map[string]int32{"worker": 2, "backend": 1} {
		s.Run(service, s.Register(flaskDefinition(t, service)), count, s.Discovery(ns, service, 1))
	}
	s.Stable("worker")
	s.Stable("backend")

	backend := s.Tasks("backend", ecstypes.DesiredStatusRunning)[0]
	seen := map[netip.Addr]bool{}
	eventually(t, 20*time.Second, "both workers have done work", func() bool {
		from := worksFor(t, address(backend))
		if workers := s.Lookup("worker.corp"); !workers[from] {
			t.Fatalf("the backend asked %s, which DNS does not name: %v", from, workers)
		}
		seen[from] = true
		return len(seen) == 2
	})

	// The names follow: with all workers gone none resolves, and with new ones the backend asks those.
	old := s.Lookup("worker.corp")
	s.Scale("worker", 0)
	eventually(t, 20*time.Second, "the backend finds no worker", func() bool {
		status, said := get(t, address(backend))
		return status == http.StatusBadGateway && strings.HasPrefix(said, "worker.corp does not resolve: ")
	})
	s.Scale("worker", 1)
	eventually(t, 20*time.Second, "the new worker is answered", func() bool { return len(s.Lookup("worker.corp")) == 1 })
	if from := worksFor(t, address(backend)); old[from] || !s.Lookup("worker.corp")[from] {
		t.Errorf("the backend asked %s; DNS named %v before and names %v now", from, old, s.Lookup("worker.corp"))
	}
}

// flaskDefinition is a task definition of examples/flask with its placeholder filled in as the page there says.
func flaskDefinition(t *testing.T, service string) *ecs.RegisterTaskDefinitionInput {
	t.Helper()
	folder, err := filepath.Abs(filepath.Join(root, "examples/flask"))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := readText(t, "examples/flask/"+service+".json")
	var in ecs.RegisterTaskDefinitionInput
	if err := awsapi.LowerCamel.Decode([]byte(strings.ReplaceAll(text, "@FLASK@", folder)), &in); err != nil {
		t.Fatal(err)
	}
	return &in
}

// worksFor has a backend do its work, and gives the address of the worker that it asked.
func worksFor(t *testing.T, backend string) netip.Addr {
	t.Helper()
	status, said := get(t, backend)
	work, from, found := strings.Cut(strings.TrimSpace(said), " From: ")
	if status != http.StatusOK || !found || work != "Worker Message: 1229 primes below 10000" {
		t.Fatalf("the backend said %d: %s", status, said)
	}
	return must[netip.Addr](t)(netip.ParseAddr(from))
}

// get asks a sample service.
func get(t *testing.T, address string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(short(t), http.MethodGet, "http://"+net.JoinHostPort(address, "5000")+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

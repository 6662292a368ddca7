package clients

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestSampleServices runs the two sample services as the demo does. The backend must find both workers by name.
func TestSampleServices(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	corp := s.CreateNamespace("corp")
	s.CreateECSService("worker", s.RegisterDefinition(harness.Worker(t, "flask-worker", "")), 2,
		s.CreateCloudMapService(corp, "worker", 1))
	backend := harness.Worker(t, "flask-backend", "")
	backend.ContainerDefinitions[0].Command = []string{harness.TestBinary(t), "sample", "flask-backend"}
	s.CreateECSService("backend", s.RegisterDefinition(backend), 1, s.CreateCloudMapService(corp, "backend", 1))
	s.WaitStable("worker")
	s.WaitStable("backend")
	workers := s.Lookup("worker.corp")
	task := s.Tasks("backend", ecstypes.DesiredStatusRunning)[0]
	seen := map[string]bool{}
	harness.Eventually(t, 10*time.Second, "both workers have answered", func() bool {
		resp, err := http.Get("http://" + harness.Address(task) + ":5000/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body := harness.Must(io.ReadAll(resp.Body))(t)
		_, from, ok := strings.Cut(strings.TrimSpace(string(body)), " From: ")
		if resp.StatusCode != http.StatusOK || !ok || !strings.HasPrefix(string(body), "Worker Message: ") {
			t.Fatalf("the backend returned %s: %s", resp.Status, body)
		}
		for ip := range workers {
			if from == ip.String() {
				seen[from] = true
				return len(seen) == 2
			}
		}
		t.Fatalf("the backend used the worker %s, want one of %v", from, workers)
		return false
	})
}

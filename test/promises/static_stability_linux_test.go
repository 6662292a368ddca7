package promises

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/test/harness"
)

// TestLosingEtcd takes etcd away from a server. Answers must never be empty, writes must fail fast with an error that
// SDKs retry, tasks must continue, and nothing may be lost afterwards.
func TestLosingEtcd(t *testing.T) {
	t.Parallel()
	t.Run("etcd is stopped", func(t *testing.T) {
		t.Parallel()
		e := harness.StartEtcd(t)
		runOutage(t, harness.Serve(t, "--etcd", e.Endpoint()), e.Stop, e.Start, staleImmediately)
	})
	t.Run("the network drops every packet", func(t *testing.T) {
		t.Parallel()
		e := harness.StartEtcd(t)
		runOutage(t, harness.Serve(t, "--etcd", e.Endpoint()), e.Gate.Stall, e.Gate.Resume, staleAfterTimeout)
	})
}

// TestStopWithoutEtcd stops a server that has lost etcd. It must stop cleanly and within a bounded time, and start
// again with everything that was stored.
func TestStopWithoutEtcd(t *testing.T) {
	t.Parallel()
	e := harness.StartEtcd(t)
	s := harness.Serve(t, "--etcd", e.Endpoint())
	s.CreateNamespace("shop")
	e.Stop()
	watch := harness.StartStopwatch()
	s.Stop()
	if took := watch.Unstalled(); took > 15*time.Second || s.Cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("the server ended after %v: %v; want status 0 within 15 s", took, s.Cmd.ProcessState)
	}
	if _, err := harness.Start(t, s.Dir, "--etcd", e.Endpoint()); err == nil ||
		!strings.Contains(err.Error(), e.Endpoint()) {
		t.Errorf("a start without etcd: %v, want an error that names %s", err, e.Endpoint())
	}
	e.Start()
	s = harness.ServeOn(t, s.Dir, "--etcd", e.Endpoint())
	if reply, err := s.QueryDNS("shop", dns.TypeSOA); err != nil || len(reply.Answer) != 1 {
		t.Errorf("SOA of the namespace: %v, %v; want one record", reply, err)
	}
}

// TestFullDisk fills the disk of the embedded etcd, with the same requirements as TestLosingEtcd.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir, here := harness.SmallDisk(t, 320<<20)
	if !here {
		return
	}
	t.Cleanup(func() { harness.EndTasks(t, dir) })
	s := harness.ServeOn(t, dir)
	var free func()
	fill := func() {
		free = harness.FillDisk(t, dir)
		// Space that etcd has reserved is still written to, until the server checks the disk the next time.
		harness.Eventually(t, 5*time.Second, "/healthz reports the full disk", func() bool {
			status, _ := s.Get("/healthz")
			return status == http.StatusServiceUnavailable
		})
	}
	runOutage(t, s, fill, func() { free() }, writesOnly)
}

// staleness determines what /healthz and the metrics must report during an outage, and how soon.
type staleness int

const (
	staleImmediately  staleness = iota
	staleAfterTimeout           // when the connection is found to be dead, after about 15 s
	writesOnly                  // a full store does not change, so answers are not stale
)

// runOutage runs tasks, and a service whose instances are registered by the test. It then calls lose, checks the server
// without its store, calls restore, and checks that nothing was lost.
func runOutage(t *testing.T, s *harness.Server, lose, restore func(), expected staleness) {
	t.Helper()
	shop := s.CreateNamespace("shop")
	s.CreateECSService("cart", s.RegisterDefinition(harness.Program(t, "sleeper", "/bin/sleep", "1000")), 2,
		s.CreateCloudMapService(shop, "cart", 1))
	outside := s.CreateCloudMapService(shop, "outside", 1)
	for n := range 3 {
		harness.Must(s.CloudMap().RegisterInstance(t.Context(), harness.Registration(*outside.Id, strconv.Itoa(n),
			fmt.Sprintf("10.0.0.%d", n+1))))(t)
	}
	s.WaitStable("cart")
	tasks, answered := s.TaskProcesses("cart"), s.Lookup("cart.shop")
	stopWatching := watchAnswers(s, "cart", "outside")

	lose()
	checkWritesFail(s, shop, *outside.Id)
	checkOutageReported(s, expected)
	if now := s.TaskProcesses("cart"); !maps.Equal(now, tasks) {
		t.Errorf("the tasks' processes are %v, were %v", now, tasks)
	}
	if now := s.Lookup("cart.shop"); !maps.Equal(now, answered) {
		t.Errorf("DNS answers %v, want %v", now, answered)
	}
	victim, survivor := twoOf(tasks)
	pid := harness.Must(strconv.Atoi(victim))(t)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil { // the agent cannot store the task's new state now
		t.Fatal(err)
	}

	restore()
	harness.Eventually(t, 20*time.Second, "writes succeed again", func() bool {
		_, err := s.CloudMapWithoutRetries().RegisterInstance(t.Context(),
			harness.Registration(*outside.Id, "after", "10.0.0.100"))
		return err == nil
	})
	if err := s.CheckQueryA("outside.shop", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.100"); err != nil {
		t.Error(err)
	}
	harness.Eventually(t, 20*time.Second, "the task that was killed during the outage is replaced", func() bool {
		now := s.TaskProcesses("cart")
		return len(now) == 2 && now[victim] != tasks[victim] && now[survivor] == tasks[survivor]
	})
	s.WaitStable("cart")
	s.CheckAnswers("cart", 2)
	harness.Eventually(t, 5*time.Second, "/healthz reports ok and the lag is 0", func() bool {
		status, _ := s.Get("/healthz")
		return status == http.StatusOK && s.Metric("rollcall_store_lag_seconds") == 0
	})
	stopWatching()
}

// twoOf returns the keys of a map that has two.
func twoOf(m map[string]string) (first, second string) {
	keys := slices.Sorted(maps.Keys(m))
	return keys[0], keys[1]
}

// watchAnswers queries DNS and DiscoverInstances for services of the namespace shop again and again, until stop is
// called. Each answer must have an address.
func watchAnswers(s *harness.Server, services ...string) (stop func()) {
	ctx, cancel := context.WithCancel(s.T.Context())
	var watchers sync.WaitGroup
	for _, name := range services {
		watch := func(by string, query func() (int, error)) {
			watchers.Go(func() {
				answers := 0
				for ; ctx.Err() == nil; answers++ {
					if n, err := query(); (n == 0 || err != nil) && ctx.Err() == nil {
						s.T.Errorf("%s returned %d addresses for %s in answer %d: %v", by, n, name, answers+1, err)
						return
					}
				}
				if answers < 10 {
					s.T.Errorf("%s gave only %d answers for %s", by, answers, name)
				}
			})
		}
		watch("DNS", func() (int, error) {
			found, err := s.QueryA(name + ".shop")
			return len(found), err
		})
		watch("DiscoverInstances", func() (int, error) {
			out, err := s.CloudMapWithoutRetries().DiscoverInstances(ctx,
				&sd.DiscoverInstancesInput{NamespaceName: aws.String("shop"), ServiceName: &name})
			if err != nil {
				return 0, err
			}
			return len(out.Instances), nil
		})
	}
	return func() {
		cancel()
		watchers.Wait()
	}
}

// checkWritesFail checks that writes of each kind fail within 3 s with an error that SDKs retry.
func checkWritesFail(s *harness.Server, namespace, service string) {
	s.T.Helper()
	ctx := s.T.Context()
	api, ecsAPI := s.CloudMapWithoutRetries(), s.ECSWithoutRetries()
	var calls sync.WaitGroup
	for what, write := range map[string]func() error{
		"RegisterInstance": func() error {
			_, err := api.RegisterInstance(ctx, harness.Registration(service, "late", "10.0.0.99"))
			return err
		},
		"DeregisterInstance": func() error {
			_, err := api.DeregisterInstance(ctx, &sd.DeregisterInstanceInput{ServiceId: &service,
				InstanceId: aws.String("0")})
			return err
		},
		"CreateService": func() error {
			_, err := api.CreateService(ctx, &sd.CreateServiceInput{Name: aws.String("late"), NamespaceId: &namespace})
			return err
		},
		"UpdateService": func() error {
			_, err := ecsAPI.UpdateService(ctx, &ecs.UpdateServiceInput{Service: aws.String("cart"),
				DesiredCount: aws.Int32(9)})
			return err
		},
		"RegisterTaskDefinition": func() error {
			_, err := ecsAPI.RegisterTaskDefinition(ctx, harness.Program(s.T, "late", "/bin/true"))
			return err
		},
	} {
		calls.Go(func() {
			watch := harness.StartStopwatch()
			err := write()
			took := watch.Unstalled()
			var response *smithyhttp.ResponseError
			if !errors.As(err, &response) || response.HTTPStatusCode() != http.StatusServiceUnavailable ||
				harness.ErrorCode(err) != "ServiceUnavailable" {
				s.T.Errorf("%s without a store: %v, want ServiceUnavailable with status 503", what, err)
			}
			if took > 3*time.Second {
				s.T.Errorf("%s without a store failed after %v, want at most 3 s", what, took)
			}
		})
	}
	calls.Wait()
}

// checkOutageReported checks that /healthz and the metrics report the outage.
func checkOutageReported(s *harness.Server, expected staleness) {
	s.T.Helper()
	within := 5 * time.Second
	if expected == staleAfterTimeout {
		within = 25 * time.Second
	}
	var body string
	harness.Eventually(s.T, within, "/healthz reports the outage", func() bool {
		var status int
		status, body = s.Get("/healthz")
		return status == http.StatusServiceUnavailable
	})
	if len(body) == 0 || strings.Count(body, "\n") > 1 {
		s.T.Errorf("/healthz is %q, want one line", body)
	}
	if expected == writesOnly {
		return
	}
	first := s.Metric("rollcall_store_lag_seconds")
	harness.Eventually(s.T, 5*time.Second, "rollcall_store_lag_seconds grows",
		func() bool { return s.Metric("rollcall_store_lag_seconds") > first })
}

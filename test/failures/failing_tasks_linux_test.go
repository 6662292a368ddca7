package failures

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/test/harness"
)

// waitStoppedTasks waits until a service has n stopped tasks, and returns all its stopped tasks in the order of their
// creation.
func waitStoppedTasks(s *harness.Server, service string, n int, within time.Duration) []ecstypes.Task {
	s.T.Helper()
	var tasks []ecstypes.Task
	harness.Eventually(s.T, within, fmt.Sprintf("%d stopped tasks of %s", n, service), func() bool {
		tasks = slices.DeleteFunc(s.Tasks(service, ecstypes.DesiredStatusStopped),
			func(t ecstypes.Task) bool { return aws.ToString(t.LastStatus) != "STOPPED" })
		return len(tasks) >= n
	})
	slices.SortFunc(tasks, func(a, b ecstypes.Task) int { return a.CreatedAt.Compare(*b.CreatedAt) })
	return tasks
}

// hasEvent reports whether one of a service's events contains a text.
func hasEvent(s *harness.Server, service, text string) bool {
	return slices.ContainsFunc(s.DescribeService(service).Events,
		func(e ecstypes.ServiceEvent) bool { return strings.Contains(*e.Message, text) })
}

// forceDeleteService deletes a service with force and waits until none of its processes, sandboxes and addresses is
// left.
func forceDeleteService(s *harness.Server, service, starts string) {
	s.T.Helper()
	harness.Must(s.ECS().DeleteService(s.T.Context(),
		&ecs.DeleteServiceInput{Service: &service, Force: aws.Bool(true)}))(s.T)
	s.CheckNothingLeft(service, starts)
}

// markContainers sets harness.MarkVariable in a definition's containers, so that a test finds their processes.
func markContainers(in *ecs.RegisterTaskDefinitionInput, starts string) *ecs.RegisterTaskDefinitionInput {
	for i := range in.ContainerDefinitions {
		in.ContainerDefinitions[i].Environment = append(in.ContainerDefinitions[i].Environment,
			ecstypes.KeyValuePair{Name: aws.String(harness.MarkVariable), Value: &starts})
	}
	return in
}

// TestFailingTasks runs services whose tasks cannot succeed. ECS must show the reason, each attempt must wait longer
// than the one before, a corrected definition must start without delay, and the service must be deletable.
func TestFailingTasks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		command []string
		code    ecstypes.TaskStopCode
		reason  []string // all are in the reason of the task or of its container
		exit    *int32
	}{
		{"a command that does not exist", []string{"/no/such/program"}, ecstypes.TaskStopCodeTaskFailedToStart,
			[]string{"CannotStartContainerError", "/no/such/program"}, nil},
		{"a command that is not a program", []string{"/etc/hostname"}, ecstypes.TaskStopCodeTaskFailedToStart,
			[]string{"CannotStartContainerError", "/etc/hostname"}, nil},
		{"a task that exits immediately", []string{"/bin/true"}, ecstypes.TaskStopCodeEssentialContainerExited,
			[]string{"Essential container in task exited"}, aws.Int32(0)},
		{"a task that crashes immediately", []string{"/bin/sh", "-c", "kill -SEGV $$"},
			ecstypes.TaskStopCodeEssentialContainerExited, []string{"Essential container in task exited"},
			aws.Int32(139)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := harness.Serve(t)
			starts := filepath.Join(t.TempDir(), "starts")
			s.CreateECSService("cart", s.RegisterDefinition(markContainers(harness.Program(t, "failing", tc.command...),
				starts)), 1, s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 1))

			waited := harness.StartStopwatch()
			tasks := waitStoppedTasks(s, "cart", 4, 30*time.Second)
			overload := waited.Elapsed() - waited.Unstalled()
			for _, task := range tasks {
				reason := aws.ToString(task.StoppedReason) + " " + aws.ToString(task.Containers[0].Reason)
				for _, part := range tc.reason {
					if !strings.Contains(reason, part) {
						t.Errorf("the reason is %q, want one that contains %q", reason, part)
					}
				}
				exit := task.Containers[0].ExitCode
				if task.StopCode != tc.code || (exit == nil) != (tc.exit == nil) || exit != nil && *exit != *tc.exit {
					t.Errorf("stop code %s, exit code %v; want %s, %v", task.StopCode, aws.ToInt32(exit), tc.code,
						aws.ToInt32(tc.exit))
				}
			}
			for i, least := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
				if delay := tasks[i+1].CreatedAt.Sub(*tasks[i].CreatedAt); delay < least ||
					delay > least+8*time.Second+overload {
					t.Errorf("attempt %d started %v after the one before, want %v or a little more", i+2, delay, least)
				}
			}
			harness.Eventually(t, 5*time.Second, "an event reports that tasks do not start", func() bool {
				return hasEvent(s, "cart", "is unable to consistently start tasks successfully")
			})
			for _, part := range tc.reason {
				if !hasEvent(s, "cart", part) {
					t.Errorf("no event contains %q: %s", part, harness.AsJSON(s.DescribeService("cart").Events))
				}
			}

			good := s.RegisterDefinition(markContainers(harness.Program(t, "good", "/bin/sleep", "1000"), starts))
			watch := harness.StartStopwatch()
			harness.Must(s.ECS().UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("cart"),
				TaskDefinition: &good}))(t)
			s.WaitStable("cart")
			if took := watch.Unstalled(); took > 5*time.Second {
				t.Errorf("a corrected definition started after %v, delayed by the failures of the one before", took)
			}
			s.CheckAnswers("cart", 1)
			forceDeleteService(s, "cart", starts)
		})
	}
}

// TestTaskListensOnAllAddresses runs a task that listens on all addresses instead of only its address. The task must be
// stopped with a reason that names the problem. Although it would pass its health check, it must never be answered, and
// clients of other tasks must never reach it.
func TestTaskListensOnAllAddresses(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	shop := s.CreateNamespace("shop")
	s.CreateECSService("good", s.RegisterDefinition(harness.Worker(t, "good", "")), 1,
		s.CreateCloudMapService(shop, "good", 1))
	s.WaitStable("good")
	good := s.Tasks("good", ecstypes.DesiredStatusRunning)[0]

	// Not port 5000, on which the good task listens: a second process could not listen there on all addresses.
	port := strconv.Itoa(harness.FreePort(t))
	bad := harness.Worker(t, "bad", harness.TestBinary(t)+" sample check http://$ROLLCALL_ADDRESS:"+port+"/health")
	bad.ContainerDefinitions[0].PortMappings[0].ContainerPort = aws.Int32(int32(harness.Must(strconv.Atoi(port))(t)))
	bad.ContainerDefinitions[0].Command = []string{"/bin/sh", "-c",
		"ROLLCALL_ADDRESS=0.0.0.0 ROLLCALL_PORT_5000=" + port + " exec " + harness.TestBinary(t) +
			" sample flask-worker"}
	entry := s.CreateCloudMapService(shop, "bad", 1)
	stop := startWellBehavedClients(s,
		func() error {
			if got, err := s.QueryA("bad.shop"); err != nil || len(got) > 0 {
				return fmt.Errorf("the answer for bad.shop is %v, %v", got, err)
			}
			return nil
		},
		func() error {
			resp, err := http.Get("http://" + harness.Address(good) + ":5000/")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err == nil && !strings.Contains(string(body), harness.Address(good)) {
				err = fmt.Errorf("another task answered at the good task's address: %s", body)
			}
			return err
		},
	)
	s.CreateECSService("bad", s.RegisterDefinition(bad), 1, entry)
	task := waitStoppedTasks(s, "bad", 1, 20*time.Second)[0]
	stop()
	reason := aws.ToString(task.StoppedReason) + " " + aws.ToString(task.Containers[0].Reason)
	for _, part := range []string{"listens on", port, "$ROLLCALL_ADDRESS"} {
		if !strings.Contains(reason, part) {
			t.Errorf("the reason is %q, want one that contains %q", reason, part)
		}
	}
	s.CheckAnswers("good", 1)
}

// TestTaskIgnoresSIGTERM stops a task that ignores SIGTERM. It must be killed when its stop timeout has passed, and not
// earlier.
func TestTaskIgnoresSIGTERM(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	starts := filepath.Join(t.TempDir(), "starts")
	file := `"$` + harness.MarkVariable + `"`
	script := "trap 'date +%s%N >> " + file + "' TERM; echo ready >> " + file + "; while :; do sleep 0.1; done"
	in := markContainers(harness.Program(t, "stubborn", "/bin/sh", "-c", script), starts)
	in.ContainerDefinitions[0].StopTimeout = aws.Int32(2)
	s.CreateECSService("cart", s.RegisterDefinition(in), 1, nil)
	s.WaitStable("cart")
	victim := s.Tasks("cart", ecstypes.DesiredStatusRunning)[0]
	harness.Eventually(t, 5*time.Second, "the task is ready for SIGTERM", func() bool {
		return slices.Contains(harness.StartedPIDs(t, starts), "ready")
	})
	s.SetDesiredCount("cart", 0)
	var lines []string // "ready", and the time of SIGTERM in nanoseconds
	harness.Eventually(t, 5*time.Second, "the task receives SIGTERM", func() bool {
		lines = harness.StartedPIDs(t, starts)
		return len(lines) > 1
	})
	watch := harness.StartStopwatch()
	received := time.Unix(0, harness.Must(strconv.ParseInt(lines[1], 10, 64))(t))
	harness.Eventually(t, 10*time.Second, "the task's processes have ended", func() bool {
		return len(harness.MarkedProcesses(t, starts)) == 0
	})
	if took := time.Since(received); took < 1500*time.Millisecond || watch.Unstalled() > 4*time.Second {
		t.Errorf("killed %v after SIGTERM, want 2 s, the stop timeout", took)
	}
	stopped := waitStoppedTasks(s, "cart", 1, 5*time.Second)[0]
	if harness.TaskID(stopped) != harness.TaskID(victim) || aws.ToInt32(stopped.Containers[0].ExitCode) != 137 {
		t.Errorf("the stopped task is %s", harness.AsJSON(stopped))
	}
}

// TestMissingSecret runs a task whose secret does not exist. The task must not start, and the reason must name the file
// where the secret was looked for.
func TestMissingSecret(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	in := harness.Program(t, "needy", "/bin/sleep", "1000")
	in.ContainerDefinitions[0].Secrets = []ecstypes.Secret{{
		Name:      aws.String("TOKEN"),
		ValueFrom: aws.String("arn:aws:secretsmanager:us-east-1:000000000000:secret:prod/token-AbCdEf"),
	}}
	s.RegisterDefinition(in)
	out := harness.Must(s.ECS().RunTask(t.Context(), &ecs.RunTaskInput{TaskDefinition: in.Family,
		NetworkConfiguration: harness.AWSVPC()}))(t)
	var stopped ecstypes.Task
	harness.Eventually(t, 30*time.Second, "the task has stopped", func() bool {
		tasks := harness.Must(s.ECS().DescribeTasks(t.Context(), &ecs.DescribeTasksInput{
			Tasks: []string{*out.Tasks[0].TaskArn}}))(t).Tasks
		stopped = tasks[0]
		return *stopped.LastStatus == "STOPPED"
	})
	if stopped.StopCode != ecstypes.TaskStopCodeTaskFailedToStart ||
		!strings.HasPrefix(*stopped.StoppedReason,
			"ResourceInitializationError: unable to pull secrets or registry auth: ") ||
		!strings.Contains(*stopped.StoppedReason, "DATA/secrets/prod/token") {
		t.Errorf("the task stopped as %s: %s", stopped.StopCode, *stopped.StoppedReason)
	}
}

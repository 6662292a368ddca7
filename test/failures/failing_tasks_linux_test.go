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

// waitStoppedTasks waits for a service's n-th stopped task, and returns all of them in the order of their creation.
func waitStoppedTasks(s *harness.Server, service string, n int, within time.Duration) []ecstypes.Task {
	s.T.Helper()
	var tasks []ecstypes.Task
	harness.Eventually(s.T, within, fmt.Sprintf("%d stopped tasks of %s", n, service), func() bool {
		tasks = slices.DeleteFunc(s.Tasks(service, ecstypes.DesiredStatusStopped), func(t ecstypes.Task) bool { return aws.ToString(t.LastStatus) != "STOPPED" })
		return len(tasks) >= n
	})
	slices.SortFunc(tasks, func(a, b ecstypes.Task) int { return a.CreatedAt.Compare(*b.CreatedAt) })
	return tasks
}

// hasEvent reports whether one of a service's events contains a text.
func hasEvent(s *harness.Server, service, text string) bool {
	return slices.ContainsFunc(s.DescribeService(service).Events, func(e ecstypes.ServiceEvent) bool { return strings.Contains(*e.Message, text) })
}

// forceDeleteService deletes a service by force and waits until nothing of it is left.
func forceDeleteService(s *harness.Server, service, starts string) {
	s.T.Helper()
	harness.Must(s.ECS().DeleteService(s.T.Context(), &ecs.DeleteServiceInput{Service: &service, Force: aws.Bool(true)}))(s.T)
	s.CheckNothingLeft(service, starts)
}

// markContainers puts the marker into a definition's containers, so that their processes can be found.
func markContainers(in *ecs.RegisterTaskDefinitionInput, starts string) *ecs.RegisterTaskDefinitionInput {
	for i := range in.ContainerDefinitions {
		in.ContainerDefinitions[i].Environment = append(in.ContainerDefinitions[i].Environment, ecstypes.KeyValuePair{Name: aws.String(harness.MarkVariable), Value: &starts})
	}
	return in
}

// TestFailingTasks runs services whose tasks cannot go well. The reason can be read, each next try waits longer than
// the one before, a good definition works at once, and the service can be deleted.
func TestFailingTasks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		command []string
		code    ecstypes.TaskStopCode
		reason  []string // all in the task's or its container's reason
		exit    *int32
	}{
		{"a command that does not exist", []string{"/no/such/program"}, ecstypes.TaskStopCodeTaskFailedToStart, []string{"CannotStartContainerError", "/no/such/program"}, nil},
		{"a command that is no program", []string{"/etc/hostname"}, ecstypes.TaskStopCodeTaskFailedToStart, []string{"CannotStartContainerError", "/etc/hostname"}, nil},
		{"a task that exits at once", []string{"/bin/true"}, ecstypes.TaskStopCodeEssentialContainerExited, []string{"Essential container in task exited"}, aws.Int32(0)},
		{"a task that crashes at once", []string{"/bin/sh", "-c", "kill -SEGV $$"}, ecstypes.TaskStopCodeEssentialContainerExited, []string{"Essential container in task exited"}, aws.Int32(139)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := harness.Serve(t)
			starts := filepath.Join(t.TempDir(), "starts")
			s.CreateECSService("cart", s.RegisterDefinition(markContainers(harness.Program(t, "failing", tc.command...), starts)), 1, s.CreateCloudMapService(s.CreateNamespace("shop"), "cart", 1))

			tasks := waitStoppedTasks(s, "cart", 4, 30*time.Second)
			for _, task := range tasks {
				reason := aws.ToString(task.StoppedReason) + " " + aws.ToString(task.Containers[0].Reason)
				for _, part := range tc.reason {
					if !strings.Contains(reason, part) {
						t.Errorf("the reason is %q, which does not say %q", reason, part)
					}
				}
				exit := task.Containers[0].ExitCode
				if task.StopCode != tc.code || (exit == nil) != (tc.exit == nil) || exit != nil && *exit != *tc.exit {
					t.Errorf("stop code %s, exit code %v; want %s, %v", task.StopCode, aws.ToInt32(exit), tc.code, aws.ToInt32(tc.exit))
				}
			}
			for i, least := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
				if delay := tasks[i+1].CreatedAt.Sub(*tasks[i].CreatedAt); delay < least || delay > least+8*time.Second {
					t.Errorf("try %d came %v after the one before, want %v and little more", i+2, delay, least)
				}
			}
			harness.Eventually(t, 5*time.Second, "an event says that tasks do not start", func() bool {
				return hasEvent(s, "cart", "is unable to consistently start tasks successfully")
			})
			for _, part := range tc.reason {
				if !hasEvent(s, "cart", part) {
					t.Errorf("no event says %q: %s", part, harness.AsJSON(s.DescribeService("cart").Events))
				}
			}

			good := s.RegisterDefinition(markContainers(harness.Program(t, "good", "/bin/sleep", "1000"), starts))
			began := time.Now()
			harness.Must(s.ECS().UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("cart"), TaskDefinition: &good}))(t)
			s.WaitStable("cart")
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("a good definition had to wait %v for the failures of a bad one", took)
			}
			s.CheckAnswers("cart", 1)
			forceDeleteService(s, "cart", starts)
		})
	}
}

// TestTaskListensOnAllAddresses: a task that listens on all addresses instead of its own is ended with a reason that says so.
// It has a health check, which it would pass, and is never answered; its siblings' clients never reach it.
func TestTaskListensOnAllAddresses(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	shop := s.CreateNamespace("shop")
	s.CreateECSService("good", s.RegisterDefinition(harness.Worker(t, "good", "")), 1, s.CreateCloudMapService(shop, "good", 1))
	s.WaitStable("good")
	sibling := s.Tasks("good", ecstypes.DesiredStatusRunning)[0]

	port := harness.ClosedPort(t) // not the siblings' own, which a listener on all addresses cannot have beside them
	bad := harness.Worker(t, "bad", harness.TestBinary(t)+" sample check http://$ROLLCALL_ADDRESS:"+port+"/health")
	bad.ContainerDefinitions[0].PortMappings[0].ContainerPort = aws.Int32(int32(harness.Must(strconv.Atoi(port))(t)))
	bad.ContainerDefinitions[0].Command = []string{"/bin/sh", "-c", "ROLLCALL_ADDRESS=0.0.0.0 ROLLCALL_PORT_5000=" + port + " exec " + harness.TestBinary(t) + " sample flask-worker"}
	entry := s.CreateCloudMapService(shop, "bad", 1)
	stop := startWellBehavedClients(s,
		func() error {
			if got, err := s.QueryA("bad.shop"); err != nil || len(got) > 0 {
				return fmt.Errorf("bad.shop is answered %v, %v", got, err)
			}
			return nil
		},
		func() error {
			resp, err := http.Get("http://" + harness.Address(sibling) + ":5000/")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err == nil && !strings.Contains(string(body), harness.Address(sibling)) {
				err = fmt.Errorf("the good task's address is answered by another: %s", body)
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
			t.Errorf("the reason is %q, which does not say %q", reason, part)
		}
	}
	s.CheckAnswers("good", 1)
}

// TestTaskIgnoresSIGTERM: a task that does not end by itself is killed when its stop timeout is over, and not before.
func TestTaskIgnoresSIGTERM(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	starts := filepath.Join(t.TempDir(), "starts")
	in := markContainers(harness.Program(t, "stubborn", "/bin/sh", "-c", `trap 'echo told >> "$`+harness.MarkVariable+`"' TERM; echo ready >> "$`+harness.MarkVariable+`"; while :; do sleep 0.1; done`), starts)
	in.ContainerDefinitions[0].StopTimeout = aws.Int32(2)
	s.CreateECSService("cart", s.RegisterDefinition(in), 1, nil)
	s.WaitStable("cart")
	victim := s.Tasks("cart", ecstypes.DesiredStatusRunning)[0]
	harness.Eventually(t, 5*time.Second, "the task is ready for SIGTERM", func() bool { return slices.Contains(harness.StartedPIDs(t, starts), "ready") })
	s.SetDesiredCount("cart", 0)
	harness.Eventually(t, 5*time.Second, "SIGTERM", func() bool { return slices.Contains(harness.StartedPIDs(t, starts), "told") })
	told := time.Now()
	harness.Eventually(t, 10*time.Second, "its processes are gone", func() bool { return len(harness.MarkedProcesses(t, starts)) == 0 })
	if took := time.Since(told); took < 1500*time.Millisecond || took > 4*time.Second {
		t.Errorf("it was killed %v after SIGTERM, its stop timeout is 2 s", took)
	}
	stopped := waitStoppedTasks(s, "cart", 1, 5*time.Second)[0]
	if harness.TaskID(stopped) != harness.TaskID(victim) || aws.ToInt32(stopped.Containers[0].ExitCode) != 137 {
		t.Errorf("stopped: %s", harness.AsJSON(stopped))
	}
}

// TestMissingSecret: a task whose secret is not there does not start, and says where it was looked for.
func TestMissingSecret(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	in := harness.Program(t, "needy", "/bin/sleep", "1000")
	in.ContainerDefinitions[0].Secrets = []ecstypes.Secret{{
		Name: aws.String("TOKEN"), ValueFrom: aws.String("arn:aws:secretsmanager:us-east-1:000000000000:secret:prod/token-AbCdEf"),
	}}
	s.RegisterDefinition(in)
	out := harness.Must(s.ECS().RunTask(t.Context(), &ecs.RunTaskInput{TaskDefinition: in.Family, NetworkConfiguration: harness.AWSVPC()}))(t)
	var stopped ecstypes.Task
	harness.Eventually(t, 30*time.Second, "the task has stopped", func() bool {
		tasks := harness.Must(s.ECS().DescribeTasks(t.Context(), &ecs.DescribeTasksInput{Tasks: []string{*out.Tasks[0].TaskArn}}))(t).Tasks
		stopped = tasks[0]
		return *stopped.LastStatus == "STOPPED"
	})
	if stopped.StopCode != ecstypes.TaskStopCodeTaskFailedToStart ||
		!strings.HasPrefix(*stopped.StoppedReason, "ResourceInitializationError: unable to pull secrets or registry auth: ") ||
		!strings.Contains(*stopped.StoppedReason, "DATA/secrets/prod/token") {
		t.Errorf("the task stopped as %s: %s", stopped.StopCode, *stopped.StoppedReason)
	}
}

package test

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
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	sdtypes "github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
)

// TestBadRequests sends well-signed nonsense. Each call is refused with the API's own error, whose text names what was
// wrong, and nothing changes.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	s := serve(t, "--runtime", "none")
	shop := s.Namespace("shop")
	cart := s.Discovery(shop, "cart", 1)
	must[*sd.RegisterInstanceOutput](t)(s.CloudMap().RegisterInstance(t.Context(), registration(*cart.Id, "one", "10.0.0.1")))
	s.Run("cart", s.Register(program(t, "sleeper", "/bin/sleep", "1000")), 0, cart)
	s.Stable("cart") // from now on the server has nothing to write of its own
	before := s.contents()

	label := strings.Repeat("x", 64) // one more than a label may have (RFC 1035, section 2.3.4)
	service := func(member string) string {
		return `{"serviceName":"web","taskDefinition":"sleeper","networkConfiguration":{"awsvpcConfiguration":{"subnets":["subnet-local"]}},` + member + `}`
	}
	for _, tc := range []struct {
		name     string
		do       call
		code     string
		mentions string
	}{
		{"a label of 64 characters", call{operation: "CreateService", body: fmt.Sprintf(`{"Name":%q,"NamespaceId":%q,"DnsConfig":{"DnsRecords":[{"Type":"A","TTL":1}]}}`, label, shop)}, "InvalidInput", label},
		{"an unknown namespace", call{operation: "CreateService", body: `{"Name":"a","NamespaceId":"ns-unknown"}`}, "NamespaceNotFound", "ns-unknown"},
		{"an unknown namespace to look in", call{operation: "DiscoverInstances", body: `{"NamespaceName":"nowhere","ServiceName":"a"}`}, "NamespaceNotFound", "nowhere"},
		{"an unknown service", call{operation: "RegisterInstance", body: `{"ServiceId":"srv-unknown","InstanceId":"a","Attributes":{"AWS_INSTANCE_IPV4":"10.0.0.1"}}`}, "ServiceNotFound", "srv-unknown"},
		{"an unknown operation's id", call{operation: "GetOperation", body: `{"OperationId":"unknown"}`}, "OperationNotFound", "unknown"},
		{"a namespace that has services", call{operation: "DeleteNamespace", body: fmt.Sprintf(`{"Id":%q}`, shop)}, "ResourceInUse", "services"},
		{"a service that has instances", call{operation: "DeleteService", body: fmt.Sprintf(`{"Id":%q}`, *cart.Id)}, "ResourceInUse", "instances"},
		{"no address", call{operation: "RegisterInstance", body: fmt.Sprintf(`{"ServiceId":%q,"InstanceId":"a","Attributes":{}}`, *cart.Id)}, "InvalidInput", "AWS_INSTANCE_IPV4"},
		{"an address that is none", call{operation: "RegisterInstance", body: fmt.Sprintf(`{"ServiceId":%q,"InstanceId":"a","Attributes":{"AWS_INSTANCE_IPV4":"10.0.0.256"}}`, *cart.Id)}, "InvalidInput", "10.0.0.256"},
		{"a TTL below zero", call{operation: "CreateService", body: fmt.Sprintf(`{"Name":"a","NamespaceId":%q,"DnsConfig":{"DnsRecords":[{"Type":"A","TTL":-1}]}}`, shop)}, "InvalidInput", "-1"},

		{"a desired count of -1", call{ecs: true, operation: "CreateService", body: service(`"desiredCount":-1`)}, "InvalidParameterException", "lesser than 0"},
		{"an update to a desired count of -1", call{ecs: true, operation: "UpdateService", body: `{"service":"cart","desiredCount":-1}`}, "InvalidParameterException", "lesser than 0"},
		{"a desired count of 1.5", call{ecs: true, operation: "UpdateService", body: `{"service":"cart","desiredCount":1.5}`}, "SerializationException", "desiredCount"},
		{"a definition without containers", call{ecs: true, operation: "RegisterTaskDefinition", body: `{"family":"a","containerDefinitions":[]}`}, "ClientException", "Container"},
		{"a definition with two containers of one name", call{ecs: true, operation: "RegisterTaskDefinition",
			body: `{"family":"a","containerDefinitions":[{"name":"m","image":"i","memory":64},{"name":"m","image":"i","memory":64}]}`}, "ClientException", "m"},
		{"an unknown definition", call{ecs: true, operation: "CreateService", body: `{"serviceName":"web","taskDefinition":"unknown","desiredCount":1}`}, "ClientException", ""},
		{"an unknown registry", call{ecs: true, operation: "CreateService", body: service(`"desiredCount":1,"serviceRegistries":[{"registryArn":"arn:aws:servicediscovery:us-east-1:000000000000:service/srv-unknown"}]`)}, "InvalidParameterException", "srv-unknown"},
		{"no network configuration", call{ecs: true, operation: "CreateService", body: `{"serviceName":"web","taskDefinition":"sleeper","desiredCount":1}`}, "InvalidParameterException", "etwork"},
		{"an unknown cluster", call{ecs: true, operation: "CreateService", body: `{"cluster":"unknown","serviceName":"web","taskDefinition":"sleeper","desiredCount":1}`}, "ClusterNotFoundException", ""},
		{"an unknown service of ECS", call{ecs: true, operation: "UpdateService", body: `{"service":"unknown","desiredCount":1}`}, "ServiceNotFoundException", ""},
	} {
		got, err := s.send(tc.do)
		if err != nil || got.status != http.StatusBadRequest || got.code != tc.code || !strings.Contains(got.message, tc.mentions) {
			t.Errorf("%s: %+v, %v; want %s with %q in its text", tc.name, got, err, tc.code, tc.mentions)
		}
	}
	if after := s.contents(); after != before {
		t.Errorf("something has changed:\n%s\nbefore:\n%s", after, before)
	}

	// A namespace's name is a matter of its zone, so there it is the operation that fails.
	made := must[*sd.CreatePrivateDnsNamespaceOutput](t)(s.CloudMap().CreatePrivateDnsNamespace(t.Context(), &sd.CreatePrivateDnsNamespaceInput{Name: aws.String(label + ".example"), Vpc: aws.String("vpc-local")}))
	op := must[*sd.GetOperationOutput](t)(s.CloudMap().GetOperation(t.Context(), &sd.GetOperationInput{OperationId: made.OperationId})).Operation
	if op.Status != sdtypes.OperationStatusFail || !strings.Contains(aws.ToString(op.ErrorMessage), label) {
		t.Errorf("a namespace with a label of 64 characters: %s", asJSON(op))
	}
	if err := s.seesOnly("cart.shop", "10.0.0.1"); err != nil {
		t.Error(err)
	}
}

// stopped waits for a service's n-th stopped task, and returns all of them in the order of their creation.
func (s *server) stopped(service string, n int, within time.Duration) []ecstypes.Task {
	s.T.Helper()
	var tasks []ecstypes.Task
	eventually(s.T, within, fmt.Sprintf("%d stopped tasks of %s", n, service), func() bool {
		tasks = slices.DeleteFunc(s.Tasks(service, ecstypes.DesiredStatusStopped), func(t ecstypes.Task) bool { return aws.ToString(t.LastStatus) != "STOPPED" })
		return len(tasks) >= n
	})
	slices.SortFunc(tasks, func(a, b ecstypes.Task) int { return a.CreatedAt.Compare(*b.CreatedAt) })
	return tasks
}

// said reports whether one of a service's events contains a text.
func (s *server) said(service, text string) bool {
	return slices.ContainsFunc(s.Describe(service).Events, func(e ecstypes.ServiceEvent) bool { return strings.Contains(*e.Message, text) })
}

// deleteService deletes a service by force and waits until nothing of it is left.
func (s *server) deleteService(service, starts string) {
	s.T.Helper()
	must[*ecs.DeleteServiceOutput](s.T)(s.ECS().DeleteService(s.T.Context(), &ecs.DeleteServiceInput{Service: &service, Force: aws.Bool(true)}))
	s.nothingIsLeft(service, starts)
}

// mark puts the marker into a definition's containers, so that their processes can be found.
func mark(in *ecs.RegisterTaskDefinitionInput, starts string) *ecs.RegisterTaskDefinitionInput {
	for i := range in.ContainerDefinitions {
		in.ContainerDefinitions[i].Environment = append(in.ContainerDefinitions[i].Environment, ecstypes.KeyValuePair{Name: aws.String(marker), Value: &starts})
	}
	return in
}

// TestTasksThatFail runs services whose tasks cannot go well. The reason can be read, each next try waits longer than
// the one before, a good definition works at once, and the service can be deleted.
func TestTasksThatFail(t *testing.T) {
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
			s := serve(t)
			starts := filepath.Join(t.TempDir(), "starts")
			s.Run("cart", s.Register(mark(program(t, "failing", tc.command...), starts)), 1, s.Discovery(s.Namespace("shop"), "cart", 1))

			tasks := s.stopped("cart", 4, 30*time.Second)
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
			eventually(t, 5*time.Second, "an event says that tasks do not start", func() bool {
				return s.said("cart", "is unable to consistently start tasks successfully")
			})
			for _, part := range tc.reason {
				if !s.said("cart", part) {
					t.Errorf("no event says %q: %s", part, asJSON(s.Describe("cart").Events))
				}
			}

			good := s.Register(mark(program(t, "good", "/bin/sleep", "1000"), starts))
			began := time.Now()
			must[*ecs.UpdateServiceOutput](t)(s.ECS().UpdateService(t.Context(), &ecs.UpdateServiceInput{Service: aws.String("cart"), TaskDefinition: &good}))
			s.Stable("cart")
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("a good definition had to wait %v for the failures of a bad one", took)
			}
			s.answersAre("cart", 1)
			s.deleteService("cart", starts)
		})
	}
}

// TestHealthCheckThatHangs: a check that never ends is a failed one. Its processes end at its timeout, its task is
// never answered, and is replaced.
func TestHealthCheckThatHangs(t *testing.T) {
	t.Parallel()
	s := serve(t)
	starts := filepath.Join(t.TempDir(), "starts")
	in := mark(worker(t, "hanging", "sleep 1000 & sleep 1000; true"), starts)
	in.ContainerDefinitions[0].StopTimeout = aws.Int32(2)
	s.Run("cart", s.Register(in), 1, s.Discovery(s.Namespace("shop"), "cart", 1))
	eventually(t, 20*time.Second, "the task is unhealthy", func() bool {
		if got := s.Lookup("cart.shop"); len(got) != 0 {
			t.Fatalf("a task that was never healthy is answered: %v", got)
		}
		return slices.ContainsFunc(s.Tasks("cart", ecstypes.DesiredStatusRunning), func(task ecstypes.Task) bool { return task.HealthStatus == ecstypes.HealthStatusUnhealthy })
	})
	tasks := s.stopped("cart", 1, 30*time.Second)
	if got := aws.ToString(tasks[0].StoppedReason); got != "Task failed container health checks" {
		t.Errorf("the reason is %q", got)
	}
	// Each task is one process; of its check there is a shell with two children, for at most the timeout of 2 s.
	if n := len(marked(t, starts)); n > 3*4 {
		t.Errorf("%d processes", n)
	}
	s.deleteService("cart", starts)
}

// TestListensEverywhere: a task that listens on all addresses instead of its own is ended with a reason that says so.
// It has a health check, which it would pass, and is never answered; its siblings' clients never reach it.
func TestListensEverywhere(t *testing.T) {
	t.Parallel()
	s := serve(t)
	shop := s.Namespace("shop")
	s.Run("good", s.Register(worker(t, "good", "")), 1, s.Discovery(shop, "good", 1))
	s.Stable("good")
	sibling := s.Tasks("good", ecstypes.DesiredStatusRunning)[0]

	port := closedPort() // not the siblings' own, which a listener on all addresses cannot have beside them
	bad := worker(t, "bad", self(t)+" sample check http://$ROLLCALL_ADDRESS:"+port+"/health")
	bad.ContainerDefinitions[0].PortMappings[0].ContainerPort = aws.Int32(int32(must[int](t)(strconv.Atoi(port))))
	bad.ContainerDefinitions[0].Command = []string{"/bin/sh", "-c", "ROLLCALL_ADDRESS=0.0.0.0 ROLLCALL_PORT_5000=" + port + " exec " + self(t) + " sample flask-worker"}
	entry := s.Discovery(shop, "bad", 1)
	stop := s.undisturbed(
		func() error {
			if got, err := s.addresses("bad.shop"); err != nil || len(got) > 0 {
				return fmt.Errorf("bad.shop is answered %v, %v", got, err)
			}
			return nil
		},
		func() error {
			resp, err := http.Get("http://" + address(sibling) + ":5000/")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err == nil && !strings.Contains(string(body), address(sibling)) {
				err = fmt.Errorf("the good task's address is answered by another: %s", body)
			}
			return err
		},
	)
	s.Run("bad", s.Register(bad), 1, entry)
	task := s.stopped("bad", 1, 20*time.Second)[0]
	stop()
	reason := aws.ToString(task.StoppedReason) + " " + aws.ToString(task.Containers[0].Reason)
	for _, part := range []string{"listens on", port, "$ROLLCALL_ADDRESS"} {
		if !strings.Contains(reason, part) {
			t.Errorf("the reason is %q, which does not say %q", reason, part)
		}
	}
	s.answersAre("good", 1)
}

// TestIgnoresSIGTERM: a task that does not end by itself is killed when its stop timeout is over, and not before.
func TestIgnoresSIGTERM(t *testing.T) {
	t.Parallel()
	s := serve(t)
	starts := filepath.Join(t.TempDir(), "starts")
	in := mark(program(t, "stubborn", "/bin/sh", "-c", `trap 'echo told >> "$`+marker+`"' TERM; echo ready >> "$`+marker+`"; while :; do sleep 0.1; done`), starts)
	in.ContainerDefinitions[0].StopTimeout = aws.Int32(2)
	s.Run("cart", s.Register(in), 1, nil)
	s.Stable("cart")
	victim := s.Tasks("cart", ecstypes.DesiredStatusRunning)[0]
	eventually(t, 5*time.Second, "the task is ready for SIGTERM", func() bool { return slices.Contains(startsIn(t, starts), "ready") })
	s.Scale("cart", 0)
	eventually(t, 5*time.Second, "SIGTERM", func() bool { return slices.Contains(startsIn(t, starts), "told") })
	told := time.Now()
	eventually(t, 10*time.Second, "its processes are gone", func() bool { return len(marked(t, starts)) == 0 })
	if took := time.Since(told); took < 1500*time.Millisecond || took > 4*time.Second {
		t.Errorf("it was killed %v after SIGTERM, its stop timeout is 2 s", took)
	}
	stopped := s.stopped("cart", 1, 5*time.Second)[0]
	if taskID(stopped) != taskID(victim) || aws.ToInt32(stopped.Containers[0].ExitCode) != 137 {
		t.Errorf("stopped: %s", asJSON(stopped))
	}
}

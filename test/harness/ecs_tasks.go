package harness

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// The delays of the SDK's waiters below, which are those of `aws ecs wait`. The SDK's own delays are several seconds.
const (
	minWaiterDelay = 20 * time.Millisecond
	maxWaiterDelay = 100 * time.Millisecond
)

// WaitTasksRunning waits with the SDK's waiter until tasks run.
func (s *Server) WaitTasksRunning(arns ...string) error {
	waiter := ecs.NewTasksRunningWaiter(s.ECSWithoutRetries(), func(o *ecs.TasksRunningWaiterOptions) {
		o.MinDelay, o.MaxDelay = minWaiterDelay, maxWaiterDelay
	})
	return waiter.Wait(s.T.Context(), &ecs.DescribeTasksInput{Tasks: arns}, time.Minute)
}

// WaitTasksStopped waits with the SDK's waiter until tasks have stopped.
func (s *Server) WaitTasksStopped(arns ...string) error {
	waiter := ecs.NewTasksStoppedWaiter(s.ECSWithoutRetries(), func(o *ecs.TasksStoppedWaiterOptions) {
		o.MinDelay, o.MaxDelay = minWaiterDelay, maxWaiterDelay
	})
	return waiter.Wait(s.T.Context(), &ecs.DescribeTasksInput{Tasks: arns}, time.Minute)
}

// WaitServicesStable waits with the SDK's waiter until services are stable.
func (s *Server) WaitServicesStable(names ...string) error {
	waiter := ecs.NewServicesStableWaiter(s.ECSWithoutRetries(), func(o *ecs.ServicesStableWaiterOptions) {
		o.MinDelay, o.MaxDelay = minWaiterDelay, maxWaiterDelay
	})
	return waiter.Wait(s.T.Context(), &ecs.DescribeServicesInput{Services: names}, time.Minute)
}

// WaitServicesInactive waits with the SDK's waiter until services are inactive.
func (s *Server) WaitServicesInactive(names ...string) error {
	waiter := ecs.NewServicesInactiveWaiter(s.ECSWithoutRetries(), func(o *ecs.ServicesInactiveWaiterOptions) {
		o.MinDelay, o.MaxDelay = minWaiterDelay, maxWaiterDelay
	})
	return waiter.Wait(s.T.Context(), &ecs.DescribeServicesInput{Services: names}, time.Minute)
}

// RunTask starts one task and returns its ARN. It fails the test if the task cannot be placed.
func (s *Server) RunTask(in *ecs.RunTaskInput) string {
	s.T.Helper()
	if in.NetworkConfiguration == nil {
		in.NetworkConfiguration = AWSVPC()
	}
	out := Must(s.ECSWithoutRetries().RunTask(s.T.Context(), in))(s.T)
	if len(out.Failures) > 0 || len(out.Tasks) != 1 {
		s.T.Fatalf("RunTask: %s", AsJSON(out))
	}
	return *out.Tasks[0].TaskArn
}

// DescribeTask returns a task. It fails the test if the task does not exist.
func (s *Server) DescribeTask(arn string) ecstypes.Task {
	s.T.Helper()
	out := Must(s.ECSWithoutRetries().DescribeTasks(s.T.Context(), &ecs.DescribeTasksInput{Tasks: []string{arn}}))(s.T)
	if len(out.Tasks) != 1 {
		s.T.Fatalf("DescribeTasks %s: %s", arn, AsJSON(out.Failures))
	}
	return out.Tasks[0]
}

package harness

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// The SDK's waiters, which are the CLI's `aws ecs wait` too, with less time between the calls.

func (s *Server) WaitTasksRunning(arns ...string) error {
	return ecs.NewTasksRunningWaiter(s.ECSWithoutRetries(), func(o *ecs.TasksRunningWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, 100*time.Millisecond
	}).
		Wait(s.T.Context(), &ecs.DescribeTasksInput{Tasks: arns}, time.Minute)
}

func (s *Server) WaitTasksStopped(arns ...string) error {
	return ecs.NewTasksStoppedWaiter(s.ECSWithoutRetries(), func(o *ecs.TasksStoppedWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, 100*time.Millisecond
	}).
		Wait(s.T.Context(), &ecs.DescribeTasksInput{Tasks: arns}, time.Minute)
}

func (s *Server) WaitServicesStable(names ...string) error {
	return ecs.NewServicesStableWaiter(s.ECSWithoutRetries(), func(o *ecs.ServicesStableWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, 100*time.Millisecond
	}).
		Wait(s.T.Context(), &ecs.DescribeServicesInput{Services: names}, time.Minute)
}

func (s *Server) WaitServicesInactive(names ...string) error {
	return ecs.NewServicesInactiveWaiter(s.ECSWithoutRetries(), func(o *ecs.ServicesInactiveWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, 100*time.Millisecond
	}).
		Wait(s.T.Context(), &ecs.DescribeServicesInput{Services: names}, time.Minute)
}

// RunTask starts one task, which must be possible, and returns its ARN.
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

func (s *Server) DescribeTask(arn string) ecstypes.Task {
	s.T.Helper()
	out := Must(s.ECSWithoutRetries().DescribeTasks(s.T.Context(), &ecs.DescribeTasksInput{Tasks: []string{arn}}))(s.T)
	if len(out.Tasks) != 1 {
		s.T.Fatalf("DescribeTasks %s: %s", arn, AsJSON(out.Failures))
	}
	return out.Tasks[0]
}

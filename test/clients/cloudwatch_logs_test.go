package clients

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/test/harness"
)

// newLogsClient returns a client of the CloudWatch Logs API.
func newLogsClient(s *harness.Server) *cloudwatchlogs.Client {
	return cloudwatchlogs.NewFromConfig(s.AWSConfig())
}

// printer returns a definition whose task prints two lines, and a third when the file trigger exists, into a log group.
func printer(t *testing.T, family, trigger string, options map[string]string) *ecs.RegisterTaskDefinitionInput {
	t.Helper()
	in := harness.Program(t, family, "/bin/sh", "-c",
		"echo hello; echo hello again >&2; while ! test -e "+trigger+"; do sleep 0.1; done; "+
			"echo goodbye; exec sleep 1000")
	in.ContainerDefinitions[0].LogConfiguration = &ecstypes.LogConfiguration{LogDriver: ecstypes.LogDriverAwslogs,
		Options: map[string]string{
			"awslogs-region": "us-east-1", "awslogs-group": "/ecs/" + family,
		}}
	for name, value := range options {
		in.ContainerDefinitions[0].LogConfiguration.Options[name] = value
	}
	return in
}

// waitTaskStopped waits until a task has stopped, and returns it.
func waitTaskStopped(s *harness.Server, id string) (t ecstypes.Task) {
	s.T.Helper()
	harness.Eventually(s.T, time.Minute, "task "+id+" has stopped", func() bool {
		t = s.DescribeTask(id)
		return *t.LastStatus == "STOPPED"
	})
	return t
}

// startFollowing starts a command that runs until the end of the test, and returns its output.
func startFollowing(t *testing.T, cmd *exec.Cmd) *harness.Output {
	t.Helper()
	out := &harness.Output{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { cmd.Wait(); cancel() }()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			<-ctx.Done()
		}
	})
	return out
}

// logEvents returns the events of the log group /ecs/web, one line per event.
func logEvents(s *harness.Server) string {
	s.T.Helper()
	out := harness.Must(newLogsClient(s).FilterLogEvents(s.T.Context(), &cloudwatchlogs.FilterLogEventsInput{
		LogGroupName: aws.String("/ecs/web")}))(s.T)
	var all []string
	for _, e := range out.Events {
		all = append(all, *e.LogStreamName+": "+*e.Message)
	}
	return strings.Join(all, "\n")
}

// TestLogsCommand reads what tasks print with `rollcall logs` and with the CloudWatch Logs API: while they print, after
// a restart of the server, and after they have stopped.
func TestLogsCommand(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	trigger := filepath.Join(t.TempDir(), "trigger")
	s.RegisterDefinition(printer(t, "web", trigger, map[string]string{"awslogs-stream-prefix": "p",
		"awslogs-create-group": "true"}))
	s.CreateECSService("web", "web", 1, nil)
	s.WaitStable("web")
	id := harness.TaskID(s.Tasks("web", ecstypes.DesiredStatusRunning)[0])
	stream := "p/main/" + id + ": "
	first := stream + "hello\n" + stream + "hello again"
	harness.Eventually(t, 30*time.Second, "the API returns the first lines",
		func() bool { return logEvents(s) == first })
	for _, target := range []string{"web", "default/web", id, id[:6]} {
		lines := strings.Split(s.RunCommand("logs", target), "\n")
		if len(lines) != 3 || !strings.HasSuffix(lines[0], " "+id[:8]+" main  hello") ||
			!strings.HasSuffix(lines[1], "  hello again") {
			t.Errorf("rollcall logs %s printed %q", target, lines)
		}
	}
	if out := s.RunCommand("logs", "web", "--container", "other"); out != "" {
		t.Errorf("logs of another container: %q, want none", out)
	}
	cmd := harness.Command(t, "logs", "web", "--follow")
	cmd.Env = append(cmd.Env, "ROLLCALL_DATA="+s.Dir)
	follow := startFollowing(t, cmd)
	harness.Eventually(t, 30*time.Second, "logs --follow prints the lines so far",
		func() bool { return strings.Contains(follow.String(), "hello again\n") })
	if err := os.WriteFile(trigger, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 30*time.Second, "logs --follow prints the next line",
		func() bool { return strings.Contains(follow.String(), "goodbye\n") })
	if n := strings.Count(follow.String(), "\n"); n != 3 {
		t.Errorf("logs --follow printed %d lines, want 3:\n%s", n, follow)
	}

	s.Kill()
	s = harness.ServeOn(t, s.Dir)
	all := first + "\n" + stream + "goodbye"
	harness.Eventually(t, 30*time.Second, "the restarted server returns all events",
		func() bool { return logEvents(s) == all })
	s.SetDesiredCount("web", 0)
	waitTaskStopped(s, id)
	if got := logEvents(s); got != all {
		t.Errorf("events after the task has stopped:\n%s", got)
	}
	// --follow ends because the task has stopped
	if got := s.RunCommand("logs", id, "--follow"); strings.Count(got, "\n") != 3 {
		t.Errorf("logs of the stopped task, want 3 lines:\n%s", got)
	}
}

// TestMissingLogGroup runs a task whose log group does not exist and that does not ask for its creation. The task must
// not start, as at AWS.
func TestMissingLogGroup(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	s.RegisterDefinition(printer(t, "web", "/nowhere", nil))
	task := waitTaskStopped(s, s.RunTask(&ecs.RunTaskInput{TaskDefinition: aws.String("web")}))
	if task.StopCode != ecstypes.TaskStopCodeTaskFailedToStart ||
		!strings.HasPrefix(*task.StoppedReason, "ResourceInitializationError: failed to validate logger args: ") ||
		!strings.Contains(*task.StoppedReason, "The specified log group does not exist") {
		t.Errorf("the task stopped as %s: %s", task.StopCode, *task.StoppedReason)
	}
	harness.Must(newLogsClient(s).CreateLogGroup(t.Context(), &cloudwatchlogs.CreateLogGroupInput{
		LogGroupName: aws.String("/ecs/web")}))(t)
	s.RunTask(&ecs.RunTaskInput{TaskDefinition: aws.String("web")})
	harness.Eventually(t, 30*time.Second, "a task prints into the group",
		func() bool { return strings.Contains(logEvents(s), ": hello again") })
}

// TestLogsWithCLI reads a log group with each AWS CLI on this machine. Only version 2 has "logs tail".
func TestLogsWithCLI(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	trigger := filepath.Join(t.TempDir(), "trigger")
	s.RegisterDefinition(printer(t, "web", trigger, map[string]string{"awslogs-stream-prefix": "p",
		"awslogs-create-group": "true"}))
	arn := s.RunTask(&ecs.RunTaskInput{TaskDefinition: aws.String("web")})
	id := arn[strings.LastIndexByte(arn, '/')+1:]
	harness.Eventually(t, 30*time.Second, "the task prints", func() bool {
		var missing error
		_, missing = newLogsClient(s).DescribeLogStreams(t.Context(),
			&cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: aws.String("/ecs/web")})
		return missing == nil && strings.Contains(logEvents(s), "again")
	})
	var followed []*harness.Output
	for _, cli := range awsCLIs(t) {
		u := newTerminal(t, s, cli)
		const group = "/ecs/web --output text --query 'events[].message'"
		if got := u.run("aws logs filter-log-events --log-group-name " + group); got != "hello\thello again" {
			t.Errorf("%s logs filter-log-events: %q", cli.version, got)
		}
		get := "aws logs get-log-events --log-stream-name p/main/" + id + " --log-group-name "
		if got := u.run(get + group); got != "hello\thello again" {
			t.Errorf("%s logs get-log-events: %q", cli.version, got)
		}
		if strings.HasPrefix(cli.version, "aws-cli/1.") {
			continue
		}
		if got := u.run("aws logs tail /ecs/web --format short"); !strings.Contains(got, " hello\n") ||
			!strings.HasSuffix(got, " hello again") {
			t.Errorf("%s logs tail: %q", cli.version, got)
		}
		cmd := exec.Command(harness.TestBinary(t), "aws", "logs", "tail", "/ecs/web", "--follow", "--format", "short")
		cmd.Env = u.environ
		followed = append(followed, startFollowing(t, cmd))
	}
	for _, out := range followed {
		harness.Eventually(t, time.Minute, "logs tail --follow prints the lines so far",
			func() bool { return strings.Contains(out.String(), "hello again") })
	}
	if err := os.WriteFile(trigger, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, out := range followed {
		harness.Eventually(t, time.Minute, "logs tail --follow prints the next line",
			func() bool { return strings.Contains(out.String(), "goodbye") })
		if n := strings.Count(out.String(), "hello\n"); n != 1 {
			t.Errorf("logs tail --follow printed a line %d times, want once:\n%s", n, out)
		}
	}
	harness.Eventually(t, 30*time.Second, "the API returns the next line",
		func() bool { return strings.HasSuffix(logEvents(s), "goodbye") })
}

// TestReadOnlyKeyReadsLogs checks that the read-only key may read logs and may not change log groups.
func TestReadOnlyKeyReadsLogs(t *testing.T) {
	t.Parallel()
	s := harness.Serve(t)
	admin := newLogsClient(s)
	harness.Must(admin.CreateLogGroup(t.Context(), &cloudwatchlogs.CreateLogGroupInput{
		LogGroupName: aws.String("g")}))(t)
	s.Keys = harness.Must(awsapi.ReadOnlyOf(s.Keys))(t)
	reader := newLogsClient(s)
	if _, err := reader.FilterLogEvents(t.Context(),
		&cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String("g")}); err != nil {
		t.Errorf("FilterLogEvents with the read-only key: %v", err)
	}
	_, err := reader.DeleteLogGroup(t.Context(), &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: aws.String("g")})
	if err == nil || !strings.Contains(fmt.Sprint(err), "AccessDeniedException") {
		t.Errorf("DeleteLogGroup with the read-only key: %v, want AccessDeniedException", err)
	}
}

package test

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
)

func (s *server) cloudWatchLogs() *cloudwatchlogs.Client {
	return cloudwatchlogs.NewFromConfig(s.AWSConfig())
}

// printer is a definition of a task that prints two lines and, when a file appears, a third, into a log group.
func printer(t *testing.T, family, goOn string, options map[string]string) *ecs.RegisterTaskDefinitionInput {
	in := program(t, family, "/bin/sh", "-c", "echo hello; echo hello again >&2; while ! test -e "+goOn+"; do sleep 0.1; done; echo goodbye; exec sleep 1000")
	in.ContainerDefinitions[0].LogConfiguration = &ecstypes.LogConfiguration{LogDriver: ecstypes.LogDriverAwslogs, Options: map[string]string{
		"awslogs-region": "us-east-1", "awslogs-group": "/ecs/" + family,
	}}
	for name, value := range options {
		in.ContainerDefinitions[0].LogConfiguration.Options[name] = value
	}
	return in
}

// awaitStopped waits until a task has stopped.
func (s *server) awaitStopped(id string) (t ecstypes.Task) {
	s.T.Helper()
	eventually(s.T, time.Minute, "task "+id+" has stopped", func() bool {
		t = s.describeTask(id)
		return *t.LastStatus == "STOPPED"
	})
	return t
}

// following runs a command that goes on, and gives what it prints.
func following(t *testing.T, cmd *exec.Cmd) *output {
	t.Helper()
	out := &output{}
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

// events are the messages of a log group.
func (s *server) events(group string) string {
	s.T.Helper()
	out := must[*cloudwatchlogs.FilterLogEventsOutput](s.T)(s.cloudWatchLogs().FilterLogEvents(s.T.Context(), &cloudwatchlogs.FilterLogEventsInput{LogGroupName: &group}))
	var all []string
	for _, e := range out.Events {
		all = append(all, *e.LogStreamName+": "+*e.Message)
	}
	return strings.Join(all, "\n")
}

// TestLogs reads what tasks print, by rollcall logs and by CloudWatch Logs, as it comes, after a restart of the server and
// after the end of the task.
func TestLogs(t *testing.T) {
	t.Parallel()
	s := serve(t)
	goOn := filepath.Join(t.TempDir(), "go-on")
	s.Register(printer(t, "web", goOn, map[string]string{"awslogs-stream-prefix": "p", "awslogs-create-group": "true"}))
	s.Run("web", "web", 1, nil)
	s.Stable("web")
	id := taskID(s.Tasks("web", ecstypes.DesiredStatusRunning)[0])
	stream := "p/main/" + id + ": "
	first := stream + "hello\n" + stream + "hello again"
	eventually(t, 30*time.Second, "the first lines are read", func() bool { return s.events("/ecs/web") == first })
	for _, target := range []string{"web", "default/web", id, id[:6]} {
		lines := strings.Split(s.says("logs", target), "\n")
		if len(lines) != 3 || !strings.HasSuffix(lines[0], " "+id[:8]+" main  hello") || !strings.HasSuffix(lines[1], "  hello again") {
			t.Errorf("rollcall logs %s: %q", target, lines)
		}
	}
	if out := s.says("logs", "web", "--container", "other"); out != "" {
		t.Errorf("the logs of another container: %q", out)
	}
	cmd := rollcall(t, "logs", "web", "--follow")
	cmd.Env = append(cmd.Env, "ROLLCALL_DATA="+s.Dir)
	follow := following(t, cmd)
	eventually(t, 30*time.Second, "the lines so far are followed", func() bool { return strings.Contains(follow.String(), "hello again\n") })
	if err := os.WriteFile(goOn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the next line is followed", func() bool { return strings.Contains(follow.String(), "goodbye\n") })
	if n := strings.Count(follow.String(), "\n"); n != 3 {
		t.Errorf("%d lines are followed:\n%s", n, follow)
	}

	s.Kill()
	s = serveOn(t, s.Dir)
	all := first + "\n" + stream + "goodbye"
	eventually(t, 30*time.Second, "the server knows the service again", func() bool { return s.events("/ecs/web") == all })
	s.Scale("web", 0)
	s.awaitStopped(id)
	if got := s.events("/ecs/web"); got != all {
		t.Errorf("after the end of the task:\n%s", got)
	}
	if got := s.says("logs", id, "--follow"); strings.Count(got, "\n") != 3 { // which ends, as the task has
		t.Errorf("rollcall logs of the ended task:\n%s", got)
	}
}

// TestLogGroupMissing: a task whose log group is not there, and that did not ask to make it, does not start, as at AWS.
func TestLogGroupMissing(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.Register(printer(t, "web", "/nowhere", nil))
	task := s.awaitStopped(s.runTask(&ecs.RunTaskInput{TaskDefinition: aws.String("web")}))
	if task.StopCode != ecstypes.TaskStopCodeTaskFailedToStart || !strings.HasPrefix(*task.StoppedReason, "ResourceInitializationError: failed to validate logger args: ") ||
		!strings.Contains(*task.StoppedReason, "The specified log group does not exist") {
		t.Errorf("the task stopped as %s: %s", task.StopCode, *task.StoppedReason)
	}
	must[*cloudwatchlogs.CreateLogGroupOutput](t)(s.cloudWatchLogs().CreateLogGroup(t.Context(), &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String("/ecs/web")}))
	s.runTask(&ecs.RunTaskInput{TaskDefinition: aws.String("web")})
	eventually(t, 30*time.Second, "a task prints into the group", func() bool { return strings.Contains(s.events("/ecs/web"), ": hello again") })
}

// TestLogsWithCLI reads a group with each AWS CLI: version 2 has "logs tail".
func TestLogsWithCLI(t *testing.T) {
	t.Parallel()
	s := serve(t)
	goOn := filepath.Join(t.TempDir(), "go-on")
	s.Register(printer(t, "web", goOn, map[string]string{"awslogs-stream-prefix": "p", "awslogs-create-group": "true"}))
	arn := s.runTask(&ecs.RunTaskInput{TaskDefinition: aws.String("web")})
	id := arn[strings.LastIndexByte(arn, '/')+1:]
	eventually(t, 30*time.Second, "the task prints", func() bool {
		var missing error
		_, missing = s.cloudWatchLogs().DescribeLogStreams(t.Context(), &cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: aws.String("/ecs/web")})
		return missing == nil && strings.Contains(s.events("/ecs/web"), "again")
	})
	var followed []*output
	for _, cli := range awsCLIs(t) {
		u := newTerminal(t, s, cli)
		if got := u.sees("aws logs filter-log-events --log-group-name /ecs/web --output text --query 'events[].message'"); got != "hello\thello again" {
			t.Errorf("%s logs filter-log-events: %q", cli.version, got)
		}
		if got := u.sees("aws logs get-log-events --log-group-name /ecs/web --log-stream-name p/main/" + id + " --output text --query 'events[].message'"); got != "hello\thello again" {
			t.Errorf("%s logs get-log-events: %q", cli.version, got)
		}
		if strings.HasPrefix(cli.version, "aws-cli/1.") {
			continue
		}
		if got := u.sees("aws logs tail /ecs/web --format short"); !strings.Contains(got, " hello\n") || !strings.HasSuffix(got, " hello again") {
			t.Errorf("%s logs tail: %q", cli.version, got)
		}
		cmd := exec.Command(self(t), "aws", "logs", "tail", "/ecs/web", "--follow", "--format", "short")
		cmd.Env = u.environ
		followed = append(followed, following(t, cmd))
	}
	for _, out := range followed {
		eventually(t, time.Minute, "logs tail --follow shows the lines so far", func() bool { return strings.Contains(out.String(), "hello again") })
	}
	if err := os.WriteFile(goOn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, out := range followed {
		eventually(t, time.Minute, "logs tail --follow shows the next", func() bool { return strings.Contains(out.String(), "goodbye") })
		if n := strings.Count(out.String(), "hello\n"); n != 1 {
			t.Errorf("logs tail --follow shows a line %d times:\n%s", n, out)
		}
	}
	eventually(t, 30*time.Second, "the next line is there", func() bool { return strings.HasSuffix(s.events("/ecs/web"), "goodbye") })
}

// TestReadOnlyReadsLogs: the key that only reads may read logs, and may not change groups.
func TestReadOnlyReadsLogs(t *testing.T) {
	t.Parallel()
	s := serve(t)
	admin := s.cloudWatchLogs()
	must[*cloudwatchlogs.CreateLogGroupOutput](t)(admin.CreateLogGroup(t.Context(), &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String("g")}))
	s.Keys = must[awsapi.Pair](t)(awsapi.ReadOnlyOf(s.Keys))
	reader := s.cloudWatchLogs()
	if _, err := reader.FilterLogEvents(t.Context(), &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String("g")}); err != nil {
		t.Errorf("reading events: %v", err)
	}
	_, err := reader.DeleteLogGroup(t.Context(), &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: aws.String("g")})
	if err == nil || !strings.Contains(fmt.Sprint(err), "AccessDeniedException") {
		t.Errorf("deleting a group: %v", err)
	}
}

package cloudwatchlogs_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/api/cloudwatchlogs"
	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/loggroup"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
)

// epoch is the time at which each test starts, in Unix milliseconds.
const epoch = 1700000000000

// world is the API over log files, with the SDK's client for it.
type world struct {
	*sdk.Client
	t    *testing.T
	srv  *apitest.Server
	logs *containerlog.Catalog
	now  time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOn(t, storetest.Open(t, loggroup.Schema()...))
}

func newWorldOn(t *testing.T, db *store.Store) *world {
	t.Helper()
	w := &world{t: t, now: time.UnixMilli(epoch)}
	w.logs = apitest.Must(containerlog.OpenCatalog(filepath.Join(t.TempDir(), "logs")))(t)
	w.srv = apitest.Serve(t, cloudwatchlogs.New(db, w.logs, func() time.Time { return w.now }))
	w.Client = w.client()
	return w
}

func (w *world) client(options ...func(*aws.Config)) *sdk.Client {
	return sdk.NewFromConfig(w.srv.Config(options...))
}

// printer is a container that prints lines, and the writer of its log.
type printer struct {
	w       *world
	writer  *containerlog.Writer
	program *os.File
}

func (w *world) container(taskID, group, stream string) *printer {
	w.t.Helper()
	if err := w.logs.Declare(taskID, "app", &containerlog.Stream{Region: "eu-west-1", Group: group, Name: stream,
		Created: w.now.UnixMilli()}); err != nil {
		w.t.Fatal(err)
	}
	dir := w.logs.Task(taskID)[0].Dir
	p := &printer{w: w}
	p.writer = apitest.Must(containerlog.Open(dir, w.now))(w.t)
	p.program = apitest.Must(os.OpenFile(containerlog.File(dir), os.O_APPEND|os.O_WRONLY, 0))(w.t)
	w.t.Cleanup(func() { p.program.Close() })
	return p
}

// prints prints lines at the given number of seconds after epoch.
func (p *printer) prints(at int, lines ...string) {
	p.w.t.Helper()
	if _, err := p.program.WriteString(strings.Join(lines, "\n") + "\n"); err != nil {
		p.w.t.Fatal(err)
	}
	p.w.now = time.UnixMilli(epoch).Add(time.Duration(at) * time.Second)
	if err := p.writer.Record(p.w.now); err != nil {
		p.w.t.Fatal(err)
	}
}

func (w *world) group(name string) {
	w.t.Helper()
	apitest.Must(w.CreateLogGroup(w.t.Context(), &sdk.CreateLogGroupInput{LogGroupName: &name}))(w.t)
}

// TestGroups makes the calls of Terraform's aws_cloudwatch_log_group, in the same order.
func TestGroups(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	name := aws.String("/ecs/web")
	if _, err := w.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: name,
		Tags: map[string]string{"team": "red"}}); err != nil {
		t.Fatal(err)
	}
	_, err := w.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: name})
	if apitest.ErrorCode(err) != "ResourceAlreadyExistsException" {
		t.Errorf("create an existing group: %v", err)
	}
	if _, err := w.PutRetentionPolicy(ctx, &sdk.PutRetentionPolicyInput{LogGroupName: name,
		RetentionInDays: aws.Int32(7)}); err != nil {
		t.Error(err)
	}
	w.group("/ecs/api")
	w.group("other")
	list, err := w.DescribeLogGroups(ctx, &sdk.DescribeLogGroupsInput{LogGroupNamePrefix: aws.String("/ecs/"),
		Limit: aws.Int32(1)})
	if err != nil || len(list.LogGroups) != 1 || *list.LogGroups[0].LogGroupName != "/ecs/api" ||
		list.NextToken == nil {
		t.Fatalf("first page: %+v, %v", list, err)
	}
	list, err = w.DescribeLogGroups(ctx, &sdk.DescribeLogGroupsInput{LogGroupNamePrefix: aws.String("/ecs/"),
		Limit: aws.Int32(1), NextToken: list.NextToken})
	if err != nil || len(list.LogGroups) != 1 || list.NextToken != nil {
		t.Fatalf("second page: %+v, %v", list, err)
	}
	g := list.LogGroups[0]
	const arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/ecs/web"
	if *g.Arn != arn+":*" || *g.LogGroupArn != arn || *g.RetentionInDays != 7 || *g.CreationTime != epoch ||
		g.LogGroupClass != types.LogGroupClassStandard {
		t.Errorf("log group: %+v", g)
	}
	for _, resource := range []string{arn, arn + ":*"} {
		tags, err := w.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: &resource})
		if err != nil || fmt.Sprint(tags.Tags) != "map[team:red]" {
			t.Errorf("tags of %s: %v, %v", resource, tags, err)
		}
	}
	if _, err := w.TagResource(ctx, &sdk.TagResourceInput{ResourceArn: aws.String(arn),
		Tags: map[string]string{"stage": "blue"}}); err != nil {
		t.Error(err)
	}
	if _, err := w.UntagResource(ctx, &sdk.UntagResourceInput{ResourceArn: aws.String(arn),
		TagKeys: []string{"team"}}); err != nil {
		t.Error(err)
	}
	//lint:ignore SA1019 older clients still call it
	old, err := w.ListTagsLogGroup(ctx, &sdk.ListTagsLogGroupInput{LogGroupName: name})
	if err != nil || fmt.Sprint(old.Tags) != "map[stage:blue]" {
		t.Errorf("tags by the deprecated operation: %v, %v", old, err)
	}
	if _, err := w.DeleteRetentionPolicy(ctx, &sdk.DeleteRetentionPolicyInput{LogGroupName: name}); err != nil {
		t.Error(err)
	}
	if _, err := w.DeleteLogGroup(ctx, &sdk.DeleteLogGroupInput{LogGroupName: name}); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"delete": second(w.DeleteLogGroup(ctx, &sdk.DeleteLogGroupInput{LogGroupName: name})),
		"retention": second(w.PutRetentionPolicy(ctx, &sdk.PutRetentionPolicyInput{LogGroupName: name,
			RetentionInDays: aws.Int32(7)})),
		"tags":    second(w.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceArn: aws.String(arn)})),
		"streams": second(w.DescribeLogStreams(ctx, &sdk.DescribeLogStreamsInput{LogGroupName: name})),
		"events":  second(w.FilterLogEvents(ctx, &sdk.FilterLogEventsInput{LogGroupName: name})),
		"stream": second(w.GetLogEvents(ctx, &sdk.GetLogEventsInput{LogGroupName: aws.String("other"),
			LogStreamName: aws.String("none")})),
	} {
		if apitest.ErrorCode(err) != "ResourceNotFoundException" {
			t.Errorf("%s of a deleted group: %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"invalid name": second(w.CreateLogGroup(ctx, &sdk.CreateLogGroupInput{LogGroupName: aws.String("a b")})),
		"invalid retention": second(w.PutRetentionPolicy(ctx, &sdk.PutRetentionPolicyInput{
			LogGroupName: aws.String("other"), RetentionInDays: aws.Int32(2)})),
		"invalid limit": second(w.DescribeLogGroups(ctx, &sdk.DescribeLogGroupsInput{Limit: aws.Int32(51)})),
		"invalid token": second(w.DescribeLogGroups(ctx, &sdk.DescribeLogGroupsInput{NextToken: aws.String("x")})),
		"ARN of a cluster": second(w.TagResource(ctx, &sdk.TagResourceInput{
			ResourceArn: aws.String("arn:aws:ecs:eu-west-1:123456789012:cluster/x"),
			Tags:        map[string]string{"a": "b"}})),
		"name and identifier": second(w.FilterLogEvents(ctx, &sdk.FilterLogEventsInput{
			LogGroupName: aws.String("other"), LogGroupIdentifier: aws.String("other")})),
		"no group": second(w.FilterLogEvents(ctx, &sdk.FilterLogEventsInput{})),
		"JSON pattern": second(w.FilterLogEvents(ctx, &sdk.FilterLogEventsInput{
			LogGroupName: aws.String("other"), FilterPattern: aws.String("{ $.x = 1 }")})),
	} {
		if apitest.ErrorCode(err) != "InvalidParameterException" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// second returns the error of a call.
func second[T any](_ T, err error) error { return err }

// filter reads all pages of FilterLogEvents and returns the events as SECOND:STREAM:MESSAGE.
func (w *world) filter(in sdk.FilterLogEventsInput) string {
	w.t.Helper()
	var all []string
	ids := map[string]bool{}
	for {
		out := apitest.Must(w.FilterLogEvents(w.t.Context(), &in))(w.t)
		for _, e := range out.Events {
			all = append(all, fmt.Sprintf("%d:%s:%s", (*e.Timestamp-epoch)/1000, *e.LogStreamName, *e.Message))
			if ids[*e.EventId] || len(*e.EventId) != 56 {
				w.t.Errorf("the event id %s is malformed or appears twice", *e.EventId)
			}
			ids[*e.EventId] = true
		}
		if out.NextToken == nil {
			return strings.Join(all, " ")
		}
		in.NextToken = out.NextToken
	}
}

// TestFilterLogEvents checks that the streams of a group are merged by time, for all page sizes.
func TestFilterLogEvents(t *testing.T) {
	w := newWorld(t)
	w.group("web")
	a, b := w.container("t1", "web", "a"), w.container("t2", "web", "b")
	w.container("t3", "other", "c").prints(1, "in another group")
	a.prints(1, "one", "two")
	b.prints(2, "three")
	a.prints(3, "four error")
	b.prints(4, "five", "six error")
	a.prints(5, "seven")
	const all = "1:a:one 1:a:two 2:b:three 3:a:four error 4:b:five 4:b:six error 5:a:seven"
	at := func(second int64) *int64 { return aws.Int64(epoch + second*1000) }
	for limit := int32(1); limit < 9; limit++ {
		if got := w.filter(sdk.FilterLogEventsInput{LogGroupName: aws.String("web"), Limit: &limit}); got != all {
			t.Errorf("pages of %d: %s", limit, got)
		}
	}
	for _, tc := range []struct {
		name string
		in   sdk.FilterLogEventsInput
		want string
	}{
		{"between two times", sdk.FilterLogEventsInput{StartTime: at(2), EndTime: at(4)},
			"2:b:three 3:a:four error 4:b:five 4:b:six error"},
		{"one stream", sdk.FilterLogEventsInput{LogStreamNames: []string{"b"}}, "2:b:three 4:b:five 4:b:six error"},
		{"prefix of a stream", sdk.FilterLogEventsInput{LogStreamNamePrefix: aws.String("a")},
			"1:a:one 1:a:two 3:a:four error 5:a:seven"},
		{"one term", sdk.FilterLogEventsInput{FilterPattern: aws.String("error"), Limit: aws.Int32(1)},
			"3:a:four error 4:b:six error"},
		{"excluded terms", sdk.FilterLogEventsInput{FilterPattern: aws.String("-error -one")},
			"1:a:two 2:b:three 4:b:five 5:a:seven"},
		{"after the last event", sdk.FilterLogEventsInput{StartTime: at(6)}, ""},
	} {
		tc.in.LogGroupName = aws.String("web")
		if got := w.filter(tc.in); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
	ctx := t.Context()
	if _, err := w.PutRetentionPolicy(ctx, &sdk.PutRetentionPolicyInput{LogGroupName: aws.String("web"),
		RetentionInDays: aws.Int32(1)}); err != nil {
		t.Fatal(err)
	}
	w.now = time.UnixMilli(epoch+3000).AddDate(0, 0, 1)
	const recent = "3:a:four error 4:b:five 4:b:six error 5:a:seven"
	group := aws.String("arn:aws:logs:eu-west-1:123456789012:log-group:web")
	if got := w.filter(sdk.FilterLogEventsInput{LogGroupIdentifier: group}); got != recent {
		t.Errorf("after the retention of some events has ended: %s", got)
	}
}

// TestGetLogEvents reads a stream from its head and from its tail, to the end and back.
func TestGetLogEvents(t *testing.T) {
	w := newWorld(t)
	w.group("web")
	p := w.container("t1", "web", "p/app/t1")
	for i := range 5 {
		p.prints(i+1, fmt.Sprintf("line %d", i+1), "")
	}
	in := sdk.GetLogEventsInput{LogGroupName: aws.String("web"), LogStreamName: aws.String("p/app/t1"),
		Limit: aws.Int32(3)}
	get := func(token *string) (string, *sdk.GetLogEventsOutput) {
		t.Helper()
		in.NextToken = token
		out := apitest.Must(w.GetLogEvents(t.Context(), &in))(t)
		var all []string
		for _, e := range out.Events {
			all = append(all, fmt.Sprintf("%d:%s", (*e.Timestamp-epoch)/1000, *e.Message))
		}
		return strings.Join(all, " "), out
	}
	tail, out := get(nil)
	if tail != "4: 5:line 5 5:" {
		t.Errorf("events from the tail: %s", tail)
	}
	end := out.NextForwardToken
	if got, out := get(end); got != "" || *out.NextForwardToken != *end {
		t.Errorf("events after the end: %s, token %s, want %s", got, *out.NextForwardToken, *end)
	}
	p.prints(6, "line 6")
	if got, _ := get(end); got != "6:line 6" {
		t.Errorf("events printed since then: %s", got)
	}
	back, all := out.NextBackwardToken, tail
	for {
		got, out := get(back)
		if *out.NextBackwardToken == *back {
			break
		}
		all, back = got+" "+all, out.NextBackwardToken
	}
	const lines = "1:line 1 1: 2:line 2 2: 3:line 3 3: 4:line 4 4: 5:line 5 5:"
	if strings.TrimSpace(all) != lines {
		t.Errorf("backward: %s", all)
	}
	in.StartFromHead = aws.Bool(true)
	all = ""
	var forward *string
	for {
		got, out := get(forward)
		if forward != nil && *out.NextForwardToken == *forward {
			break
		}
		all, forward = all+" "+got, out.NextForwardToken
	}
	if strings.TrimSpace(all) != lines+" 6:line 6" {
		t.Errorf("forward: %s", all)
	}
	in.StartTime, in.EndTime = aws.Int64(epoch+2000), aws.Int64(epoch+3000)
	if got, _ := get(nil); got != "2:line 2 2:" {
		t.Errorf("events of one second: %s", got)
	}
	in.NextToken = aws.String("f/1")
	if _, err := w.GetLogEvents(t.Context(), &in); apitest.ErrorCode(err) != "InvalidParameterException" {
		t.Errorf("invalid token: %v", err)
	}
}

// TestStreams lists streams in both orders, page by page.
func TestStreams(t *testing.T) {
	w := newWorld(t)
	w.group("web")
	for i, name := range []string{"c", "a", "b"} {
		w.container(name, "web", "s/"+name).prints(i+1, "x")
	}
	list := func(in sdk.DescribeLogStreamsInput) string {
		t.Helper()
		in.LogGroupName, in.Limit = aws.String("web"), aws.Int32(2)
		var all []string
		for {
			out := apitest.Must(w.DescribeLogStreams(t.Context(), &in))(t)
			for _, s := range out.LogStreams {
				all = append(all, fmt.Sprintf("%s:%d", *s.LogStreamName, (*s.LastEventTimestamp-epoch)/1000))
			}
			if out.NextToken == nil {
				return strings.Join(all, " ")
			}
			in.NextToken = out.NextToken
		}
	}
	for _, tc := range []struct {
		in   sdk.DescribeLogStreamsInput
		want string
	}{
		{sdk.DescribeLogStreamsInput{}, "s/a:2 s/b:3 s/c:1"},
		{sdk.DescribeLogStreamsInput{OrderBy: types.OrderByLastEventTime}, "s/c:1 s/a:2 s/b:3"},
		{sdk.DescribeLogStreamsInput{OrderBy: types.OrderByLastEventTime, Descending: aws.Bool(true)},
			"s/b:3 s/a:2 s/c:1"},
		{sdk.DescribeLogStreamsInput{LogStreamNamePrefix: aws.String("s/b")}, "s/b:3"},
	} {
		if got := list(tc.in); got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.in, got, tc.want)
		}
	}
	groups := []string{"arn:aws:logs:eu-west-1:123456789012:log-group:web"}
	_, err := w.StartLiveTail(t.Context(), &sdk.StartLiveTailInput{LogGroupIdentifiers: groups}, noPrefix)
	if apitest.ErrorCode(err) != "InvalidOperationException" {
		t.Errorf("StartLiveTail: %v", err)
	}
}

// noPrefix prevents the SDK from calling streaming-rollcall.test.
func noPrefix(o *sdk.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("NoHostPrefix",
			func(ctx context.Context, in middleware.InitializeInput,
				next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
				return next.HandleInitialize(smithyhttp.DisableEndpointHostPrefix(ctx, true), in)
			}), middleware.Before)
	})
}

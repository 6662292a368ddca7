package cloudwatchlogs

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/paging"
	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/loggroup"
)

// The bounds of one answer (FilterLogEvents, GetLogEvents).
const (
	maxEvents = 10000
	maxBytes  = 1 << 20
)

func (a *api) filterLogEvents(ctx context.Context, in *sdk.FilterLogEventsInput) (*sdk.FilterLogEventsOutput, error) {
	const operation = "FilterLogEvents"
	g, err := a.group(awsapi.ScopeFrom(ctx), in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	limit, err := pageSize(in.Limit, maxEvents)
	if err != nil {
		return nil, err
	}
	match, err := parsePattern(aws.ToString(in.FilterPattern))
	if err != nil {
		return nil, err
	}
	prefix := aws.ToString(in.LogStreamNamePrefix)
	switch {
	case prefix != "" && len(in.LogStreamNames) > 0:
		return nil, invalid("LogStreamNamePrefix and LogStreamNames are mutually exclusive parameters.")
	case len(in.LogStreamNames) > 100:
		return nil, invalid("At most 100 logStreamNames can be specified.")
	}
	q := containerlog.Query{From: max(aws.ToInt64(in.StartTime), g.VisibleFrom(a.now())), Match: match, Most: limit, Bytes: maxBytes}
	if in.EndTime != nil {
		q.Until = *in.EndTime + 1
	}
	if in.NextToken != nil {
		if q.After, err = readCursor(operation, *in.NextToken); err != nil {
			return nil, err
		}
		q.From = max(q.From, q.After.Time)
	}
	entries, err := a.streams(g)
	if err != nil {
		return nil, err
	}
	var sources []*containerlog.Source
	for _, e := range entries {
		if strings.HasPrefix(e.Stream.Name, prefix) && (len(in.LogStreamNames) == 0 || slices.Contains(in.LogStreamNames, e.Stream.Name)) {
			sources = append(sources, &containerlog.Source{ID: e.Stream.Name, Dir: e.Dir, Position: -1})
		}
	}
	for _, name := range in.LogStreamNames {
		if !slices.ContainsFunc(sources, func(s *containerlog.Source) bool { return s.ID == name }) {
			_, err := a.stream(g, name)
			return nil, err
		}
	}
	out := &sdk.FilterLogEventsOutput{Events: []types.FilteredLogEvent{}, SearchedLogStreams: []types.SearchedLogStream{}}
	events, last, more, err := containerlog.Merge(ctx, sources, q)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		out.Events = append(out.Events, types.FilteredLogEvent{
			EventId: aws.String(eventID(g, e)), LogStreamName: &e.Source.ID, Message: message(e.Line),
			Timestamp: &e.Time, IngestionTime: &e.Time,
		})
	}
	if more {
		if last == nil {
			last = q.After
		}
		out.NextToken = cursorToken(operation, last)
	}
	return out, nil
}

func cursorToken(operation string, c *containerlog.Cursor) *string {
	text, err := json.Marshal(c)
	if err != nil {
		return nil // three plain fields
	}
	return aws.String(paging.Token(operation, string(text)))
}

func readCursor(operation, token string) (*containerlog.Cursor, error) {
	text, ok := paging.After(operation, token)
	c := &containerlog.Cursor{}
	if !ok || token == "" || json.Unmarshal([]byte(text), c) != nil {
		return nil, badToken()
	}
	return c, nil
}

// eventID is the same each time that an event is read, and no other's: clients know by it what they have seen.
func eventID(g *loggroup.Group, e containerlog.Event) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%s\x00%s", g.Region, g.Name, e.Source.ID)
	return fmt.Sprintf("%017d%020d%019d", e.Time, h.Sum64(), e.Position)
}

// message is a line as JSON can carry it. AWS takes no empty messages; here a blank line is one.
func message(l containerlog.Line) *string {
	return aws.String(strings.ToValidUTF8(string(l.Text), "\uFFFD"))
}

func (a *api) getLogEvents(ctx context.Context, in *sdk.GetLogEventsInput) (*sdk.GetLogEventsOutput, error) {
	g, err := a.group(awsapi.ScopeFrom(ctx), in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	limit, err := pageSize(in.Limit, maxEvents)
	if err != nil {
		return nil, err
	}
	e, err := a.stream(g, aws.ToString(in.LogStreamName))
	if err != nil {
		return nil, err
	}
	backward, at, err := readDirection(aws.ToString(in.NextToken))
	if err != nil {
		return nil, err
	}
	if in.NextToken == nil {
		backward = !aws.ToBool(in.StartFromHead)
	}
	q := containerlog.Query{From: max(aws.ToInt64(in.StartTime), g.VisibleFrom(a.now())), Until: aws.ToInt64(in.EndTime), Most: limit, Bytes: maxBytes}
	read := firstFrom
	if backward {
		read = lastBefore
	}
	lines, next, err := read(ctx, e.Dir, at, q)
	if err != nil {
		return nil, err
	}
	out := &sdk.GetLogEventsOutput{Events: []types.OutputLogEvent{}}
	for _, l := range lines {
		out.Events = append(out.Events, types.OutputLogEvent{Message: message(l.Line), Timestamp: &l.Time, IngestionTime: &l.Time})
	}
	// At the end in either direction, a client gets the token back that it has sent.
	first := next
	if len(lines) > 0 {
		first = lines[0].Position
	}
	out.NextBackwardToken, out.NextForwardToken = direction("b", first), direction("f", next)
	return out, nil
}

// firstFrom are the events from a position on, and where to go on; -1 begins with the query's time.
func firstFrom(ctx context.Context, dir string, at int64, q containerlog.Query) ([]containerlog.Event, int64, error) {
	s := &containerlog.Source{Dir: dir, Position: at}
	events, _, _, err := containerlog.Merge(ctx, []*containerlog.Source{s}, q)
	return events, max(s.Position, 0), err
}

// lastBefore are the last events in front of a position, or of all when it is -1, and where to go on behind them.
func lastBefore(ctx context.Context, dir string, at int64, q containerlog.Query) ([]containerlog.Event, int64, error) {
	s := &containerlog.Source{Dir: dir, Position: -1}
	var kept []containerlog.Event
	size := 0
	most := q.Most
	q.Most = maxEvents
	for {
		events, _, more, err := containerlog.Merge(ctx, []*containerlog.Source{s}, q)
		if err != nil {
			return nil, 0, err
		}
		for _, e := range events {
			if at >= 0 && e.Position >= at {
				return kept, at, nil
			}
			kept = append(kept, e)
			for size += len(e.Text); len(kept) > most || size > q.Bytes && len(kept) > 1; kept = kept[1:] {
				size -= len(kept[0].Text)
			}
		}
		if !more {
			return kept, max(at, s.Position, 0), nil
		}
	}
}

// A token says in which direction to read on, and from where: "f/" and "b/", as AWS's begin, and a position.
func direction(which string, pos int64) *string {
	return aws.String(which + "/" + fmt.Sprintf("%056d", pos))
}

func readDirection(token string) (backward bool, at int64, err error) {
	if token == "" {
		return false, -1, nil
	}
	which, digits, _ := strings.Cut(token, "/")
	at, err = strconv.ParseInt(digits, 10, 64)
	if err != nil || at < 0 || which != "f" && which != "b" || len(digits) != 56 {
		return false, 0, badToken()
	}
	return which == "b", at, nil
}

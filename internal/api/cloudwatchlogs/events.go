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

// The bounds of one response (FilterLogEvents, GetLogEvents).
const (
	maxEvents = 10000
	maxBytes  = 1 << 20
)

func (a *api) filterLogEvents(ctx context.Context, in *sdk.FilterLogEventsInput) (*sdk.FilterLogEventsOutput, error) {
	g, err := a.group(awsapi.ScopeFrom(ctx), in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	q, err := a.filterQuery(g, in)
	if err != nil {
		return nil, err
	}
	sources, err := a.sources(g, aws.ToString(in.LogStreamNamePrefix), in.LogStreamNames)
	if err != nil {
		return nil, err
	}
	events, last, more, err := containerlog.Merge(ctx, sources, q)
	if err != nil {
		return nil, err
	}
	out := &sdk.FilterLogEventsOutput{Events: []types.FilteredLogEvent{},
		SearchedLogStreams: []types.SearchedLogStream{}}
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
		out.NextToken = cursorToken(filterOperation, last)
	}
	return out, nil
}

// filterOperation is the operation that the tokens of filterLogEvents belong to.
const filterOperation = "FilterLogEvents"

// filterQuery checks and converts the input of FilterLogEvents.
func (a *api) filterQuery(g *loggroup.Group, in *sdk.FilterLogEventsInput) (containerlog.Query, error) {
	q := containerlog.Query{From: max(aws.ToInt64(in.StartTime), g.VisibleFrom(a.now())), Bytes: maxBytes}
	var err error
	if q.Limit, err = pageSize(in.Limit, maxEvents); err != nil {
		return q, err
	}
	if q.Match, err = parsePattern(aws.ToString(in.FilterPattern)); err != nil {
		return q, err
	}
	switch {
	case aws.ToString(in.LogStreamNamePrefix) != "" && len(in.LogStreamNames) > 0:
		return q, invalid("LogStreamNamePrefix and LogStreamNames are mutually exclusive parameters.")
	case len(in.LogStreamNames) > 100:
		return q, invalid("At most 100 logStreamNames can be specified.")
	}
	if in.EndTime != nil {
		q.Until = *in.EndTime + 1
	}
	if in.NextToken != nil {
		if q.After, err = readCursor(filterOperation, *in.NextToken); err != nil {
			return q, err
		}
		q.From = max(q.From, q.After.Time)
	}
	return q, nil
}

// sources returns the streams of a group whose names have a prefix and, if names is not empty, are in names. All
// streams in names must exist.
func (a *api) sources(g *loggroup.Group, prefix string, names []string) ([]*containerlog.Source, error) {
	entries, err := a.streams(g)
	if err != nil {
		return nil, err
	}
	var sources []*containerlog.Source
	found := map[string]bool{}
	for _, e := range entries {
		name := e.Stream.Name
		if strings.HasPrefix(name, prefix) && (len(names) == 0 || slices.Contains(names, name)) {
			sources = append(sources, &containerlog.Source{ID: name, Dir: e.Dir, Position: -1})
			found[name] = true
		}
	}
	for _, name := range names {
		if !found[name] {
			return nil, noStream()
		}
	}
	return sources, nil
}

func cursorToken(operation string, c *containerlog.Cursor) *string {
	text, err := json.Marshal(c)
	if err != nil {
		return nil // cannot happen: a Cursor has three plain fields
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

// eventID returns an id that is the same each time the event is read, and different from all other ids. Clients use it
// to recognize events that they have seen.
func eventID(g *loggroup.Group, e containerlog.Event) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%s\x00%s", g.Region, g.Name, e.Source.ID)
	return fmt.Sprintf("%017d%020d%019d", e.Time, h.Sum64(), e.Position)
}

// message returns a line in the form that JSON can represent. Unlike AWS, an empty line is an event too.
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
	q := containerlog.Query{From: max(aws.ToInt64(in.StartTime), g.VisibleFrom(a.now())),
		Until: aws.ToInt64(in.EndTime), Limit: limit, Bytes: maxBytes}
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
		out.Events = append(out.Events, types.OutputLogEvent{Message: message(l.Line), Timestamp: &l.Time,
			IngestionTime: &l.Time})
	}
	// At the end in either direction, the client receives the token that it has sent.
	first := next
	if len(lines) > 0 {
		first = lines[0].Position
	}
	out.NextBackwardToken, out.NextForwardToken = direction("b", first), direction("f", next)
	return out, nil
}

// firstFrom returns the events from a position, and the position after them. Position -1 begins at the query's start
// time.
func firstFrom(ctx context.Context, dir string, at int64, q containerlog.Query) ([]containerlog.Event, int64, error) {
	s := &containerlog.Source{Dir: dir, Position: at}
	events, _, _, err := containerlog.Merge(ctx, []*containerlog.Source{s}, q)
	return events, max(s.Position, 0), err
}

// lastBefore returns the last events before a position, and the position after them. Position -1 is the end of the log.
func lastBefore(ctx context.Context, dir string, at int64, q containerlog.Query) ([]containerlog.Event, int64, error) {
	s := &containerlog.Source{Dir: dir, Position: -1}
	var kept []containerlog.Event
	size := 0
	most := q.Limit
	q.Limit = maxEvents
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

// direction returns a token for reading on: the direction, "f/" or "b/" as at AWS, and a position.
func direction(prefix string, pos int64) *string {
	return aws.String(prefix + "/" + fmt.Sprintf("%056d", pos))
}

func readDirection(token string) (backward bool, at int64, err error) {
	if token == "" {
		return false, -1, nil
	}
	prefix, digits, _ := strings.Cut(token, "/")
	at, err = strconv.ParseInt(digits, 10, 64)
	if err != nil || at < 0 || prefix != "f" && prefix != "b" || len(digits) != 56 {
		return false, 0, badToken()
	}
	return prefix == "b", at, nil
}

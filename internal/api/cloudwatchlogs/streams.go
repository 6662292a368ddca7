package cloudwatchlogs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/api/paging"
	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/loggroup"
)

// streams returns the streams of a group that have a visible event or can still receive one.
func (a *api) streams(g *loggroup.Group) ([]*containerlog.Entry, error) {
	from := g.VisibleFrom(a.now())
	var kept []*containerlog.Entry
	for _, e := range a.logs.Group(g.Region, g.Name) {
		if containerlog.Ended(e.Dir) {
			_, last, _, ok, err := containerlog.Span(e.Dir)
			if err != nil {
				return nil, err
			}
			if ok && last < from || !ok && e.Stream.Created < from {
				continue
			}
		}
		kept = append(kept, e)
	}
	return kept, nil
}

func (a *api) describeLogStreams(
	ctx context.Context, in *sdk.DescribeLogStreamsInput,
) (*sdk.DescribeLogStreamsOutput, error) {
	const operation = "DescribeLogStreams"
	g, err := a.group(awsapi.ScopeFrom(ctx), in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	max, err := pageSize(in.Limit, 50)
	if err != nil {
		return nil, err
	}
	prefix := aws.ToString(in.LogStreamNamePrefix)
	byTime := in.OrderBy == types.OrderByLastEventTime
	after, ok := paging.After(operation, aws.ToString(in.NextToken))
	switch {
	case !ok:
		return nil, badToken()
	case in.OrderBy != "" && !slices.Contains(in.OrderBy.Values(), in.OrderBy):
		return nil, broken(fmt.Sprintf("Value '%.64s'", in.OrderBy), "orderBy",
			"Member must satisfy enum value set: [LogStreamName, LastEventTime]")
	case byTime && prefix != "":
		return nil, invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
	}
	all, err := a.orderedStreams(g, prefix, byTime)
	if err != nil {
		return nil, err
	}
	order := 1
	if aws.ToBool(in.Descending) {
		order = -1
	}
	slices.SortFunc(all, func(a, b orderedStream) int { return order * cmp.Compare(a.key, b.key) })
	page := paging.New[types.LogStream](max)
	for _, s := range all {
		if after != "" && order*cmp.Compare(s.key, after) <= 0 {
			continue
		}
		if !page.Add(s.key, s.view) {
			break
		}
	}
	return &sdk.DescribeLogStreamsOutput{LogStreams: page.Items, NextToken: page.Next(operation)}, nil
}

// orderedStream is a stream with the key that it is sorted by.
type orderedStream struct {
	key  string
	view types.LogStream
}

// orderedStreams returns the streams of a group whose names have a prefix, with keys that sort them by the time of
// their last event or else by name.
func (a *api) orderedStreams(g *loggroup.Group, prefix string, byTime bool) ([]orderedStream, error) {
	entries, err := a.streams(g)
	if err != nil {
		return nil, err
	}
	var all []orderedStream
	for _, e := range entries {
		if !strings.HasPrefix(e.Stream.Name, prefix) {
			continue
		}
		view, err := streamView(g, e)
		if err != nil {
			return nil, err
		}
		key := e.Stream.Name
		if byTime {
			key = fmt.Sprintf("%013d %s", aws.ToInt64(view.LastEventTimestamp), key)
		}
		all = append(all, orderedStream{key, view})
	}
	return all, nil
}

func streamView(g *loggroup.Group, e *containerlog.Entry) (types.LogStream, error) {
	view := types.LogStream{
		LogStreamName: &e.Stream.Name, CreationTime: &e.Stream.Created,
		Arn: aws.String(g.ARN() + ":log-stream:" + e.Stream.Name),
	}
	first, last, _, ok, err := containerlog.Span(e.Dir)
	if ok {
		view.FirstEventTimestamp, view.LastEventTimestamp, view.LastIngestionTime = &first, &last, &last
	}
	return view, err
}

// stream finds a stream of a group by its name.
func (a *api) stream(g *loggroup.Group, name string) (*containerlog.Entry, error) {
	entries, err := a.streams(g)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Stream.Name == name {
			return e, nil
		}
	}
	return nil, noStream()
}

func noStream() error {
	return fault.New(fault.NotFound, "log stream", "The specified log stream does not exist.")
}

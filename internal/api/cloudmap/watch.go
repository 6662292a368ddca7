package cloudmap

import (
	"context"
	"strconv"
	"time"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/directory"
)

// The headers of a watch. AWS has no equivalent: its users poll. Calls without the headers behave as at AWS.
const (
	// AfterHeader is the revision that the caller has. The response waits for a later one.
	AfterHeader = "X-Rollcall-After"
	// WaitHeader is the longest wait for the response in seconds, 0 to MaxWait. The default is MaxWait.
	WaitHeader = "X-Rollcall-Wait"
	// RevisionHeader of the response is the store's revision of the last change to the service. In contrast to
	// InstancesRevision, it also counts changes of health.
	RevisionHeader = "X-Rollcall-Revision"
)

// MaxWait is the longest wait. It is a little less than the usual timeout of clients and proxies, one minute.
const MaxWait = 50 * time.Second

// awaitView returns the service that [api.findView] finds, after it has changed since the revision in the request, or
// after the wait has ended.
func (a *api) awaitView(ctx context.Context, namespace, service string, owner *string) (*directory.View, error) {
	v, err := a.findView(ctx, namespace, service, owner)
	text := awsapi.RequestHeader(ctx, AfterHeader)
	if err != nil || text == "" {
		return v, err
	}
	after, wait, err := parseWatch(text, awsapi.RequestHeader(ctx, WaitHeader))
	if err != nil {
		return nil, err
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	// A revision in the future is another store's, so the caller needs the current view.
	for waiting := after <= a.dir.Applied(); waiting && v.StoreRevision <= after; {
		select {
		case <-v.Superseded():
			if v, err = a.findView(ctx, namespace, service, owner); err != nil {
				return nil, err
			}
		case <-over.C:
			waiting = false
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	awsapi.SetResponseHeader(ctx, RevisionHeader, strconv.FormatInt(v.StoreRevision, 10))
	return v, nil
}

// parseWatch parses the headers of a watch.
func parseWatch(after, wait string) (int64, time.Duration, error) {
	rev, err := strconv.ParseInt(after, 10, 64)
	if err != nil || rev < 0 {
		return 0, 0, invalid("The header %s must be 0 or the %s of the last response, not %q", AfterHeader,
			RevisionHeader, after)
	}
	if wait == "" {
		return rev, MaxWait, nil
	}
	seconds, err := strconv.Atoi(wait)
	if err != nil || seconds < 0 || time.Duration(seconds)*time.Second > MaxWait {
		return 0, 0, invalid("The header %s must be a whole number of seconds between 0 and %d, not %q", WaitHeader,
			int(MaxWait.Seconds()), wait)
	}
	return rev, time.Duration(seconds) * time.Second, nil
}

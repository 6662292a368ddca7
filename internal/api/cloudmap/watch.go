package cloudmap

import (
	"context"
	"strconv"
	"time"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/directory"
)

// The headers of a watch. AWS has none: its users poll. A call without them is answered as AWS does.
const (
	// AfterHeader is the revision that the caller knows; the answer waits for a later one.
	AfterHeader = "X-Rollcall-After"
	// WaitHeader is how many seconds the answer may wait, 0 to MaxWait; MaxWait unless given.
	WaitHeader = "X-Rollcall-Wait"
	// RevisionHeader of the answer is the revision that the service last changed at. It counts every change
	// that shows, health included, which InstancesRevision does not.
	RevisionHeader = "X-Rollcall-Revision"
)

// MaxWait is the longest that an answer waits: a little less than clients' and proxies' usual minute.
const MaxWait = 50 * time.Second

// watched is the service as [api.view] finds it, once it has changed since the revision that the request
// names, or the time to wait is over.
func (a *api) watched(ctx context.Context, namespace, service string, owner *string) (*directory.View, error) {
	v, err := a.view(ctx, namespace, service, owner)
	text := awsapi.RequestHeader(ctx, AfterHeader)
	if err != nil || text == "" {
		return v, err
	}
	after, wait, err := watchOf(text, awsapi.RequestHeader(ctx, WaitHeader))
	if err != nil {
		return nil, err
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	// A revision of the future is another store's: the caller starts anew.
	for waiting := after <= a.dir.Applied(); waiting && v.StoreRevision <= after; {
		select {
		case <-v.Superseded():
			if v, err = a.view(ctx, namespace, service, owner); err != nil {
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

// watchOf reads the headers of a watch.
func watchOf(after, wait string) (int64, time.Duration, error) {
	rev, err := strconv.ParseInt(after, 10, 64)
	if err != nil || rev < 0 {
		return 0, 0, invalid("The header %s: %q is no revision; give 0, or what the last answer's %s said", AfterHeader, after, RevisionHeader)
	}
	if wait == "" {
		return rev, MaxWait, nil
	}
	seconds, err := strconv.Atoi(wait)
	if err != nil || seconds < 0 || time.Duration(seconds)*time.Second > MaxWait {
		return 0, 0, invalid("The header %s: %q is no number of seconds from 0 to %d", WaitHeader, wait, int(MaxWait.Seconds()))
	}
	return rev, time.Duration(seconds) * time.Second, nil
}

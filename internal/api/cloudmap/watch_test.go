package cloudmap_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/api/cloudmap"
)

// watch waits for the first change after a revision, as docs/clients.md shows.
func (w *world) watch(after, wait string) (n int, revision int64, err error) {
	out, err := w.DiscoverInstances(w.t.Context(), &sd.DiscoverInstancesInput{
		NamespaceName: s("shop"), ServiceName: s("cart"), HealthStatus: types.HealthStatusFilterHealthy,
	}, func(o *sd.Options) {
		o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue(cloudmap.AfterHeader, after))
		if wait != "" {
			o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue(cloudmap.WaitHeader, wait))
		}
	})
	if err != nil {
		return 0, 0, err
	}
	revision, err = strconv.ParseInt(responseHeader(out.ResultMetadata).Get(cloudmap.RevisionHeader), 10, 64)
	return len(out.Instances), revision, err
}

func responseHeader(m middleware.Metadata) http.Header {
	if r, ok := awsmiddleware.GetRawResponse(m).(*smithyhttp.Response); ok {
		return r.Header
	}
	return http.Header{}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	srv := w.service(w.privateNamespace("shop", "vpc-1"), "cart", "A 10, custom")
	w.register(srv, "i-1", "IPV4=192.0.2.1")

	n, rev, err := w.watch("0", "")
	if err != nil || n != 1 {
		t.Fatalf("the first call returned %d instances, %v; want 1 immediately", n, err)
	}
	if _, again, err := w.watch(strconv.FormatInt(rev, 10), "0"); err != nil || again != rev {
		t.Errorf("a wait of 0 seconds: revision %d, %v; want %d", again, err, rev)
	}
	if _, ahead, err := w.watch(strconv.FormatInt(rev+1_000_000, 10), ""); err != nil || ahead != rev {
		t.Errorf("a revision in the future: %d, %v; want %d immediately", ahead, err, rev)
	}

	changes := []struct {
		what string
		do   func()
		want int
	}{
		{"a registration", func() { w.register(srv, "i-2", "IPV4=192.0.2.2") }, 2},
		{"health", func() {
			_, err := w.UpdateInstanceCustomHealthStatus(t.Context(), &sd.UpdateInstanceCustomHealthStatusInput{
				ServiceId: &srv, InstanceId: s("i-2"), Status: types.CustomHealthStatusUnhealthy,
			})
			if err != nil {
				t.Error(err)
			}
		}, 1},
		{"a deregistration", func() {
			w.deregister(srv, "i-1")
		}, 0},
	}
	for _, c := range changes {
		type response struct {
			n   int
			rev int64
			err error
		}
		got := make(chan response, 1)
		go func() {
			n, rev, err := w.watch(strconv.FormatInt(rev, 10), "30")
			got <- response{n, rev, err}
		}()
		select {
		case a := <-got:
			t.Fatalf("the call returned before %s: %+v", c.what, a)
		case <-time.After(100 * time.Millisecond): // the call waits; no event reports that
		}
		c.do()
		a := <-got
		if a.err != nil || a.n != c.want || a.rev <= rev {
			t.Fatalf("%s: %+v, want %d instances and a revision after %d", c.what, a, c.want, rev)
		}
		rev = a.rev
	}
}

func TestWatchErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.service(w.privateNamespace("shop", "vpc-1"), "cart", "A 10")
	for _, tc := range []struct{ after, wait string }{{"x", ""}, {"-1", ""}, {"0", "51"}, {"0", "-1"}, {"0", "soon"}} {
		if _, _, err := w.watch(tc.after, tc.wait); apitest.ErrorCode(err) != "InvalidInput" {
			t.Errorf("after %q, wait %q: %v, want InvalidInput", tc.after, tc.wait, err)
		}
	}
}

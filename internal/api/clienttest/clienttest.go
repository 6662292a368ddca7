// Package clienttest makes the HTTP clients that tests give to SDKs.
//
// A client connects every host to one server, does not share its connections with other tests, and does not lose a
// response when the SDK closes the request's body early. Package apitest builds on it and adds AWS's protocols.
package clienttest

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// Timeout is the longest time that a call may take. A call without a response fails on its own, instead of
// blocking all tests of the package.
const Timeout = 5 * time.Minute

// New returns a client whose connections all lead to address, whatever host a request names: SDKs put "data-"
// before the host of some operations. Its connections are closed when the test ends.
//
// Connections that are kept alive in http.DefaultTransport would outlive the test's server, and a later test whose
// server listens on the same port could receive one of them.
func New(tb testing.TB, address string) *http.Client {
	tb.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: bufferedBodies{transport}, Timeout: Timeout}
}

// bufferedBodies sends each request with a copy of its body.
//
// The SDK closes a request's body as soon as the response's header has arrived. net/http's transport reads the body
// once more after its last byte, to see that it ends there. On a busy machine the response can arrive before that
// read, which then fails with "read on closed body"; the transport takes that for a failed write and closes the
// connection under the response that the SDK is reading. SDK clients retry, but tests count calls and do not.
type bufferedBodies struct{ next http.RoundTripper }

func (b bufferedBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		return b.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body.Close()
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	return b.next.RoundTrip(r)
}

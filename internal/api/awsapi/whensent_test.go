package awsapi

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
)

// TestWhenSent checks that the function of WhenSent is called when the client has the response, soon when the client
// does not receive it, and also when the operation fails or panics.
func TestWhenSent(t *testing.T) {
	sent := make(chan struct{}, 1)
	large := strings.Repeat("x", 32<<20) // more than the buffers of two sockets
	svc := newCloudMap()
	Handle(svc, func(ctx context.Context, in *sd.GetOperationInput) (*sd.GetOperationOutput, error) {
		WhenSent(ctx, func() { sent <- struct{}{} })
		switch *in.OperationId {
		case "panic":
			panic("in the operation")
		case "large":
			return &sd.GetOperationOutput{Operation: nil}, &Error{Code: "Large", Message: large}
		}
		return &sd.GetOperationOutput{}, nil
	})
	ts := httptest.NewServer(NewHandler(Config{Account: account, Keys: newKeys(t),
		Now:    func() time.Time { return noon },
		Logger: slog.New(slog.DiscardHandler)}, svc))
	defer ts.Close()

	for _, id := range []string{"small", "panic"} {
		conn := send(t, ts, id)
		if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		<-sent
	}
	began := time.Now()
	send(t, ts, "large") // and never read the response
	<-sent
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("a client that does not read the response delayed the call by %v", took)
	}

	called := false
	if WhenSent(WithCaller(t.Context(), Caller{}), func() { called = true }); !called {
		t.Error("WhenSent did not call its function, although no request is pending")
	}
}

// send sends a signed GetOperation over its own connection.
func send(t *testing.T, ts *httptest.Server, id string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", ts.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r := signed(t, root.credentials(), "Route53AutoNaming_v20170314.GetOperation", `{"OperationId":"`+id+`"}`, nil)
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	return conn
}

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

// TestWhenSent: who waits for an answer to be sent is told when the client has it, soon when the client does not take
// it, and also when the operation fails or panics.
func TestWhenSent(t *testing.T) {
	told := make(chan struct{}, 1)
	large := strings.Repeat("x", 32<<20) // more than the buffers of two sockets hold
	svc := newCloudMap()
	Handle(svc, func(ctx context.Context, in *sd.GetOperationInput) (*sd.GetOperationOutput, error) {
		WhenSent(ctx, func() { told <- struct{}{} })
		switch *in.OperationId {
		case "panic":
			panic("in the operation")
		case "large":
			return &sd.GetOperationOutput{Operation: nil}, &Error{Code: "Large", Message: large}
		}
		return &sd.GetOperationOutput{}, nil
	})
	ts := httptest.NewServer(NewHandler(Config{Account: account, Keys: newKeys(t), Now: func() time.Time { return noon },
		Logger: slog.New(slog.DiscardHandler)}, svc))
	defer ts.Close()

	for _, id := range []string{"small", "panic"} {
		conn := send(t, ts, id)
		if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		<-told
	}
	began := time.Now()
	send(t, ts, "large") // and read nothing
	<-told
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("a client that takes no answer held up who waits for it for %v", took)
	}

	here := false
	if WhenSent(WithCaller(t.Context(), Caller{}), func() { here = true }); !here {
		t.Error("without a request nobody is told")
	}
}

// send sends a signed GetOperation over a connection of its own.
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

package inspect

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/containerlog"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
	"github.com/bakingclouds/rollcall/internal/task"
)

// TestClient calls each operation through a server.
func TestClient(t *testing.T) {
	db := storetest.Open(t, append(task.Schema(), registry.Schema()...)...)
	dir := newDirectory(directory.Multivalue, recordsA, "a b:unhealthy")
	logs := apitest.Must(containerlog.OpenCatalog(filepath.Join(t.TempDir(), "logs")))(t)
	keys := apitest.Must(awsapi.NewKeys(apitest.Administrator, apitest.ReadOnly))(t)
	api := New(db, dir, logs, func() []string { return []string{"a note"} })
	srv := httptest.NewServer(awsapi.NewHandler(awsapi.Config{Account: apitest.Account, Keys: keys}, api))
	t.Cleanup(srv.Close)
	c := &Client{URL: srv.URL, Region: apitest.Region, Keys: apitest.ReadOnly}
	ctx := t.Context()

	lookup := apitest.Must(c.Lookup(ctx, GetLookupInput{Name: "web.shop", Client: "10.1.2.3"}))(t)
	if got, want := explained(lookup), "a in: healthy\nb out: unhealthy"; got != want || lookup.Rcode != "NOERROR" {
		t.Errorf("Lookup = %s %s, want NOERROR %s", lookup.Rcode, got, want)
	}
	if out := apitest.Must(c.Lookup(ctx, GetLookupInput{Name: "web.shop"}))(t); out.Rcode != "REFUSED" {
		t.Errorf("Lookup without a client: %s, want the answer for 127.0.0.1, REFUSED", out.Rcode)
	}
	status := apitest.Must(c.Status(ctx, GetStatusInput{}))(t)
	if len(status.Notes) != 1 || status.Notes[0] != "a note" || status.Stale != nil || len(status.Services) != 0 {
		t.Errorf("Status = %+v, want one note and nothing else", status)
	}
	for name, tc := range map[string]struct {
		call func() error
		want string
	}{
		"invalid client": {func() error {
			_, err := c.Lookup(ctx, GetLookupInput{Name: "web.shop", Client: "localhost"})
			return err
		}, `the server rejected the request: The client "localhost" is not an IP address`},
		"unknown target": {func() error {
			_, err := c.Logs(ctx, GetLogsInput{Target: "web"})
			return err
		}, `the server rejected the request: No service and no task "web" exists in eu-west-1`},
		"invalid key": {func() error {
			bad := *c
			bad.Keys.Secret = "x"
			_, err := bad.Status(ctx, GetStatusInput{})
			return err
		}, "the server rejected the request: The request signature we calculated does not match"},
		"no server": {func() error {
			closed := httptest.NewServer(http.NotFoundHandler())
			closed.Close()
			_, err := (&Client{URL: closed.URL, Region: apitest.Region, Keys: c.Keys}).Status(ctx, GetStatusInput{})
			return err
		}, "call the server: "},
		"not a server of Rollcall": {func() error {
			other := httptest.NewServer(http.NotFoundHandler())
			defer other.Close()
			_, err := (&Client{URL: other.URL, Region: apitest.Region, Keys: c.Keys}).Status(ctx, GetStatusInput{})
			return err
		}, "the server rejected the request: 404 Not Found"},
	} {
		if err := tc.call(); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
}

func TestWireError(t *testing.T) {
	for _, tc := range []struct {
		name   string
		err    error
		code   string // "" if the API has no error for it
		status int
	}{
		{"invalid input", invalid("bad"), "InvalidInput", http.StatusBadRequest},
		{"any noun", fault.New(fault.Invalid, "request", "bad"), "InvalidInput", http.StatusBadRequest},
		{"truncated log", containerlog.ErrBusy, "ServiceUnavailable", http.StatusServiceUnavailable},
		{"other fault", fault.New(fault.NotFound, "task", "gone"), "", 0},
		{"other error", http.ErrBodyNotAllowed, "", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := wireError(tc.err).(*awsapi.Error)
			if ok != (tc.code != "") || ok && (got.Code != tc.code || awsapi.HTTPStatus(got) != tc.status) {
				t.Errorf("wireError(%v) = %v, want %d %s", tc.err, got, tc.status, tc.code)
			}
		})
	}
}

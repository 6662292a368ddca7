package cloudmap_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
)

var rewrite = flag.Bool("update", false, "rewrite the responses in testdata")

// ids gives stable names to the random parts of responses: "$ns1", "$op2".
type ids struct {
	names  map[string]string // from id to name
	counts map[string]int
}

var (
	kinds = []struct{ name, expr string }{
		{"op", `[a-z2-7]{32}-[0-9a-z]+`}, {"ns", `ns-[a-z2-7]{16}`}, {"srv", `srv-[a-z2-7]{16}`},
		{"zone", `Z[A-Z0-9]{13,20}`},
	}
	revision = regexp.MustCompile(`"InstancesRevision":[0-9]+`)
)

func (x *ids) hide(text string) string {
	for _, k := range kinds {
		text = regexp.MustCompile(k.expr).ReplaceAllStringFunc(text, func(id string) string {
			if x.names[id] == "" {
				x.counts[k.name]++
				x.names[id] = fmt.Sprintf("$%s%d", k.name, x.counts[k.name])
			}
			return x.names[id]
		})
	}
	return revision.ReplaceAllString(text, `"InstancesRevision":$$revision`)
}

func (x *ids) show(text string) string {
	for id, name := range x.names {
		text = regexp.MustCompile(regexp.QuoteMeta(name)+`\b`).ReplaceAllLiteralString(text, id)
	}
	return text
}

// TestTranscript sends the requests in testdata/wire.txt and compares the responses with those below each request.
func TestTranscript(t *testing.T) {
	w := newWorld(t)
	const file = "testdata/wire.txt"
	script, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	x := &ids{map[string]string{}, map[string]int{}}
	var got strings.Builder
	for line := range strings.Lines(string(script)) {
		if len(line) > 1 && '0' <= line[0] && line[0] <= '9' {
			continue // a response
		}
		got.WriteString(line)
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		operation, body, _ := strings.Cut(line, " ")
		status, answer := w.send(operation, x.show(body))
		fmt.Fprintf(&got, "%d %s\n", status, x.hide(answer))
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(string(script), got.String()); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

// signed returns a request with a body as it is.
func (w *world) signed(operation, body string) *http.Request {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.srv.URL, bytes.NewReader([]byte(body)))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "Route53AutoNaming_v20170314."+operation)
	sum := sha256.Sum256([]byte(body))
	err = v4.NewSigner().SignHTTP(w.t.Context(), apitest.Credentials(apitest.Administrator),
		r, hex.EncodeToString(sum[:]), "servicediscovery", apitest.Region, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// send posts a body.
func (w *world) send(operation, body string) (status int, answer string) {
	w.t.Helper()
	resp, err := w.srv.HTTP.Do(w.signed(operation, body))
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

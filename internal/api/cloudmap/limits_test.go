package cloudmap_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
)

// TestLimits checks that a value at a limit is accepted, and that a value above it is rejected with AWS's code and
// changes nothing.
func TestLimits(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ns := w.httpNamespace("shop")
	svc := w.service(ns, "cart", "")
	arn := arns + "service/" + svc
	long := func(n int) string { return strings.Repeat("x", n) }
	pairs := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint("k", i)] = "v"
		}
		return m
	}
	tags := func(n int) (list []types.Tag) {
		for i := range n {
			list = append(list, types.Tag{Key: s(fmt.Sprint("k", i)), Value: s("v")})
		}
		return list
	}
	register := func(a map[string]string) error {
		_, err := w.RegisterInstance(ctx, &sd.RegisterInstanceInput{ServiceId: &svc, InstanceId: s("i"), Attributes: a})
		return err
	}
	httpNamespace := func(in *sd.CreateHttpNamespaceInput) error {
		_, err := w.CreateHttpNamespace(ctx, in)
		return err
	}
	update := func(a map[string]string) error {
		_, err := w.UpdateServiceAttributes(ctx, &sd.UpdateServiceAttributesInput{ServiceId: &svc, Attributes: a})
		return err
	}
	tag := func(list ...types.Tag) error {
		_, err := w.TagResource(ctx, &sd.TagResourceInput{ResourceARN: &arn, Tags: list})
		return err
	}
	describe := func(n int) error {
		_, err := w.UpdateService(ctx, &sd.UpdateServiceInput{Id: &svc, Service: &types.ServiceChange{
			Description: s(long(n))}})
		return err
	}
	for _, tc := range []struct {
		name string
		call func() error
		want string
	}{
		{"30 custom attributes", func() error { return register(pairs(30)) }, ""},
		{"31 custom attributes", func() error { return register(pairs(31)) }, "InvalidInput"},
		{"5000 characters", func() error {
			return register(map[string]string{"a": long(1024), "b": long(1024), "c": long(1024), "d": long(1024),
				"e": long(899)})
		}, ""},
		{"5001 characters", func() error {
			return register(map[string]string{"a": long(1024), "b": long(1024), "c": long(1024), "d": long(1024),
				"e": long(900)})
		}, "InvalidInput"},
		{"a key of 255", func() error { return register(map[string]string{long(255): ""}) }, ""},
		{"a key of 256", func() error { return register(map[string]string{long(256): ""}) }, "InvalidInput"},
		{"a value of 1024", func() error { return register(map[string]string{"k": long(1024)}) }, ""},
		{"a value of 1025", func() error { return register(map[string]string{"k": long(1025)}) }, "InvalidInput"},
		{"50 tags of a namespace", func() error {
			return httpNamespace(&sd.CreateHttpNamespaceInput{Name: s("t50"), Tags: tags(50)})
		}, ""},
		{"51 tags of a namespace", func() error {
			return httpNamespace(&sd.CreateHttpNamespaceInput{Name: s("t51"), Tags: tags(51)})
		}, "TooManyTagsException"},
		{"201 tags of a namespace", func() error {
			return httpNamespace(&sd.CreateHttpNamespaceInput{Name: s("t201"), Tags: tags(201)})
		}, "InvalidInput"},
		{"51 tags of a service", func() error {
			_, err := w.CreateService(ctx, &sd.CreateServiceInput{Name: s("t51"), NamespaceId: &ns, Tags: tags(51)})
			return err
		}, "TooManyTagsException"},
		{"50 tags", func() error { return tag(tags(50)...) }, ""},
		{"51 tags, one at a time", func() error { return tag(types.Tag{Key: s("more"), Value: s("")}) },
			"TooManyTagsException"},
		{"51 tags in one request", func() error { return tag(tags(51)...) }, "TooManyTagsException"},
		{"a tag key of 129", func() error { return tag(types.Tag{Key: s(long(129)), Value: s("")}) }, "InvalidInput"},
		{"a tag value of 257", func() error { return tag(types.Tag{Key: s("k0"), Value: s(long(257))}) },
			"InvalidInput"},
		{"30 service attributes", func() error { return update(pairs(30)) }, ""},
		{"another service attribute", func() error { return update(map[string]string{"more": "v"}) },
			"ServiceAttributesLimitExceededException"},
		{"31 service attributes in one request", func() error { return update(pairs(31)) }, "InvalidInput"},
		{"a description of 1024", func() error { return describe(1024) }, ""},
		{"a description of 1025", func() error { return describe(1025) }, "InvalidInput"},
		{"a body of more than 1 MiB", func() error { return describe(1 << 20) }, "RequestEntityTooLargeException"},
		{"a namespace's name of 1025", func() error {
			return httpNamespace(&sd.CreateHttpNamespaceInput{
				Name: s(long(1025))})
		}, "InvalidInput"},
		{"an instance id of 65", func() error {
			_, err := w.RegisterInstance(ctx, &sd.RegisterInstanceInput{ServiceId: &svc, InstanceId: s(long(65)),
				Attributes: map[string]string{}})
			return err
		}, "InvalidInput"},
	} {
		before := w.db.Snapshot().Rev()
		if got := apitest.ErrorCode(tc.call()); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
		if wrote := w.db.Snapshot().Rev() != before; wrote != (tc.want == "") {
			t.Errorf("%s: written %v", tc.name, wrote)
		}
	}
}

// TestForeignTokens checks that each paged operation accepts only its own tokens.
func TestForeignTokens(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ns := w.httpNamespace("one")
	w.httpNamespace("two")
	svc := w.service(ns, "one", "")
	w.service(ns, "two", "")
	w.register(svc, "one", "")
	w.register(svc, "two", "")
	operations := map[string]func(token *string) (next *string, err error){
		"ListNamespaces": func(token *string) (*string, error) {
			out, err := w.ListNamespaces(ctx, &sd.ListNamespacesInput{MaxResults: n(1), NextToken: token})
			if err != nil {
				return nil, err
			}
			return out.NextToken, nil
		},
		"ListServices": func(token *string) (*string, error) {
			out, err := w.ListServices(ctx, &sd.ListServicesInput{MaxResults: n(1), NextToken: token})
			if err != nil {
				return nil, err
			}
			return out.NextToken, nil
		},
		"ListInstances": func(token *string) (*string, error) {
			out, err := w.ListInstances(ctx, &sd.ListInstancesInput{ServiceId: &svc, MaxResults: n(1),
				NextToken: token})
			if err != nil {
				return nil, err
			}
			return out.NextToken, nil
		},
		"ListOperations": func(token *string) (*string, error) {
			out, err := w.ListOperations(ctx, &sd.ListOperationsInput{MaxResults: n(1), NextToken: token})
			if err != nil {
				return nil, err
			}
			return out.NextToken, nil
		},
		"GetInstancesHealthStatus": func(token *string) (*string, error) {
			out, err := w.GetInstancesHealthStatus(ctx, &sd.GetInstancesHealthStatusInput{ServiceId: &svc,
				MaxResults: n(1), NextToken: token})
			if err != nil {
				return nil, err
			}
			return out.NextToken, nil
		},
	}
	for from, first := range operations {
		token, err := first(nil)
		if err != nil || token == nil {
			t.Fatalf("%s: token %v, %v", from, token, err)
		}
		for to, next := range operations {
			want := "InvalidInput"
			if to == from {
				want = ""
			}
			if _, err := next(token); apitest.ErrorCode(err) != want {
				t.Errorf("%s with a token of %s: %v, want %q", to, from, err, want)
			}
		}
		short := (*token)[:len(*token)-1]
		if _, err := first(&short); apitest.ErrorCode(err) != "InvalidInput" {
			t.Errorf("%s accepts a truncated token: %v", from, err)
		}
	}
}

// TestSlowClient checks that clients that read their responses byte by byte do not delay others. One client lists
// 10,000 services; others discover 1000 large instances, 4 MB, more than the buffers between client and server hold.
// While they make no progress, writers write and other clients list everything.
func TestSlowClient(t *testing.T) {
	w := newWorld(t)
	ns := w.httpNamespace("large")
	const services, instances, discovering = 10_000, 1000, 4
	first := w.fill(ns, services, instances)

	var slow []*slowReply
	for range discovering {
		slow = append(slow,
			w.slowly("DiscoverInstances", `{"NamespaceName":"large","ServiceName":"s00000","MaxResults":1000}`))
	}
	slow = append(slow, w.slowly("ListServices", `{"MaxResults":100}`))

	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for second := range 3 {
		<-tick.C
		for _, r := range slow {
			r.more(1)
		}
		for k := range 30 {
			id := fmt.Sprintf("w%d-%d", second, k)
			w.register(first, id, "")
			w.deregister(first, id)
		}
	}
	listed := map[string]bool{}
	pages := sd.NewListServicesPaginator(w.Client, &sd.ListServicesInput{})
	for pages.HasMorePages() {
		for _, svc := range apitest.Must(pages.NextPage(t.Context()))(t).Services {
			if listed[*svc.Name] {
				t.Fatalf("%s is listed twice", *svc.Name)
			}
			listed[*svc.Name] = true
		}
	}
	if len(listed) != services {
		t.Errorf("%d services are listed, want %d", len(listed), services)
	}
	for k, r := range slow {
		var reply struct{ Instances, Services []json.RawMessage }
		if err := json.Unmarshal(r.rest(), &reply); err != nil {
			t.Fatalf("the response of a slow client: %v", err)
		}
		if k < discovering && len(reply.Instances) != instances || k == discovering && len(reply.Services) != 100 {
			t.Errorf("slow client %d got %d instances, %d services", k, len(reply.Instances), len(reply.Services))
		}
	}
}

// fill creates services "s00000" and so on. It registers instances with the largest possible attributes in the first
// one, and returns that service's id.
func (w *world) fill(ns string, services, instances int) (first string) {
	w.t.Helper()
	sc := arn.Scope{Account: apitest.Account, Region: apitest.Region}
	batch := func(n int, one func(tx *store.Tx, k int) error) {
		w.t.Helper()
		const size = 100 // about 400 KB, because the size of an etcd transaction is limited
		for from := 0; from < n; from += size {
			if _, err := store.Update(w.t.Context(), w.db, func(tx *store.Tx) (struct{}, error) {
				for k := from; k < min(from+size, n); k++ {
					if err := one(tx, k); err != nil {
						return struct{}{}, err
					}
				}
				return struct{}{}, nil
			}); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	batch(services, func(tx *store.Tx, k int) error {
		svc, err := registry.CreateService(tx, sc, registry.ServiceSpec{NamespaceID: ns,
			Name: fmt.Sprintf("s%05d", k)}, registry.NewCall(apitest.Epoch))
		if err == nil && k == 0 {
			first = svc.ID
		}
		return err
	})
	large := map[string]string{}
	for _, k := range []string{"a", "b", "c", "d"} {
		large[k] = strings.Repeat(k, 1024)
	}
	batch(instances, func(tx *store.Tx, k int) error {
		_, err := registry.RegisterInstance(tx, sc, registry.InstanceSpec{ServiceID: first, ID: fmt.Sprint("i", k),
			Attributes: large}, registry.NewCall(apitest.Epoch))
		return err
	})
	return first
}

// slowReply is a response that its client reads slowly.
type slowReply struct {
	t    testing.TB
	conn net.Conn
	got  bytes.Buffer
}

// slowly sends a signed request over its own connection and does not read the response yet.
func (w *world) slowly(operation, body string) *slowReply {
	w.t.Helper()
	request := w.signed(operation, body)
	conn := w.srv.Dial(w.t)
	if err := request.Write(conn); err != nil {
		w.t.Fatal(err)
	}
	return &slowReply{t: w.t, conn: conn}
}

// more reads n bytes.
func (r *slowReply) more(n int64) {
	r.t.Helper()
	if _, err := io.CopyN(&r.got, r.conn, n); err != nil {
		r.t.Fatalf("after %d bytes: %v", r.got.Len(), err)
	}
}

// rest reads the remaining bytes and returns the body.
func (r *slowReply) rest() []byte {
	r.t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(io.MultiReader(&r.got, r.conn)), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return body
}

package route53_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	r53 "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/smithy-go"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/api/route53"
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/control/publish"
	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/registry"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
)

// networks are the networks of the VPCs in the tests.
var networks = map[string][]netip.Prefix{
	"vpc-1": {netip.MustParsePrefix("10.1.0.0/16")},
	"vpc-2": {netip.MustParsePrefix("10.2.0.0/16")},
}

// world is the API over a store and its directory, with the SDK's client for it.
type world struct {
	*r53.Client
	t          testing.TB
	db         *store.Store
	srv        *apitest.Server
	body       *recorder
	namespaces map[string]string // name -> id
	services   map[string]string // name.namespace -> id
	regions    map[string]string // namespace -> region
}

func newWorld(tb testing.TB, text string) *world {
	tb.Helper()
	w := &world{t: tb, db: storetest.Open(tb, registry.Schema()...),
		namespaces: map[string]string{}, services: map[string]string{}, regions: map[string]string{}}
	dir := directory.New()
	publish.Follow(w.db, dir, func(_, vpc string) (in, except []netip.Prefix) { return networks[vpc], nil })
	w.srv = apitest.Serve(tb, route53.New(w.db, &answer.Authority{Directory: dir}))
	w.body = &recorder{http: w.srv.HTTP}
	w.Client = w.client()
	w.load(text)
	return w
}

func (w *world) client(options ...func(*aws.Config)) *r53.Client {
	return r53.NewFromConfig(w.srv.Config(append(options, func(c *aws.Config) { c.HTTPClient = w.body })...))
}

// recorder keeps the body of the last response.
type recorder struct {
	http *http.Client
	last string
}

func (r *recorder) Do(req *http.Request) (*http.Response, error) {
	resp, err := r.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	r.last = string(b)
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return resp, err
}

// load fills the registry from lines: a namespace ("zone shop.local vpc-1 eu-west-1", "-" for no VPC), its services
// below it ("web A 60 SRV 10 weighted custom"), and their instances, indented ("i-1 IPV4=10.0.0.1 unhealthy").
func (w *world) load(text string) {
	w.t.Helper()
	var zone, service string
	for line := range strings.SplitSeq(text, "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0] == "zone":
			zone = words[1]
			w.zone(words[1:])
		case strings.HasPrefix(strings.TrimLeft(line, "\t"), "  "):
			w.instance(zone, service, words)
		default:
			service = words[0]
			w.service(zone, words)
		}
	}
}

func (w *world) scope(zone string) arn.Scope {
	return arn.Scope{Account: apitest.Account, Region: w.regions[zone]}
}

// update runs a transaction that must succeed, and whose operation, if any, must succeed too.
func update[R any](w *world, fn func(*store.Tx) (R, error)) R {
	w.t.Helper()
	out, err := store.Update(w.t.Context(), w.db, fn)
	if err != nil {
		w.t.Fatal(err)
	}
	if op, ok := any(out).(*registry.Operation); ok && op.ErrorCode != "" {
		w.t.Fatalf("%s: %s", op.ErrorCode, op.ErrorMessage)
	}
	return out
}

func (w *world) zone(words []string) {
	w.t.Helper()
	spec := registry.NamespaceSpec{Kind: registry.Private, Name: words[0], VPC: words[1]}
	switch words[1] {
	case "-":
		spec.Kind, spec.VPC = registry.Public, ""
	case "http":
		spec.Kind, spec.VPC = registry.HTTP, ""
	}
	w.regions[words[0]] = words[2]
	w.namespaces[words[0]] = update(w, func(tx *store.Tx) (*registry.Operation, error) {
		return registry.CreateNamespace(tx, w.scope(words[0]), spec, registry.NewCall(time.Now()))
	}).Targets.Namespace
}

func (w *world) service(zone string, words []string) {
	w.t.Helper()
	spec := registry.ServiceSpec{NamespaceID: w.namespaces[zone], Name: words[0], HasDNS: true,
		Policy: registry.Multivalue}
	for i := 1; i < len(words); i++ {
		switch words[i] {
		case "weighted":
			spec.Policy = registry.Weighted
		case "custom":
			spec.CustomHealth = true
		case "api":
			spec.HasDNS, spec.APIOnly = false, true
		default:
			ttl, err := strconv.ParseInt(words[i+1], 10, 64)
			if err != nil {
				w.t.Fatal(err)
			}
			spec.Records = append(spec.Records, registry.Record{Type: registry.RecordType(words[i]), TTL: ttl})
			i++
		}
	}
	w.services[words[0]+"."+zone] = update(w, func(tx *store.Tx) (*registry.Service, error) {
		return registry.CreateService(tx, w.scope(zone), spec, registry.NewCall(time.Now()))
	}).ID
}

func (w *world) instance(zone, service string, words []string) {
	w.t.Helper()
	sc, id := w.scope(zone), w.services[service+"."+zone]
	spec := registry.InstanceSpec{ServiceID: id, ID: words[0], Attributes: map[string]string{}}
	state := ""
	for _, word := range words[1:] {
		if k, v, ok := strings.Cut(word, "="); ok {
			spec.Attributes["AWS_INSTANCE_"+k] = v
		} else {
			state = word
		}
	}
	spec.Unready = state == "unready"
	update(w, func(tx *store.Tx) (*registry.Operation, error) {
		return registry.RegisterInstance(tx, sc, spec, registry.NewCall(time.Now()))
	})
	update(w, func(tx *store.Tx) (struct{}, error) {
		ref := registry.InstanceRef{Scope: sc, ServiceID: id, ID: words[0]}
		switch state {
		case "unhealthy":
			return struct{}{}, registry.SetTaskHealth(tx, ref, registry.Unhealthy, time.Now())
		case "draining":
			return struct{}{}, registry.SetDraining(tx, ref, time.Now())
		}
		return struct{}{}, nil
	})
}

func (w *world) deregister(zone, service, id string) {
	w.t.Helper()
	update(w, func(tx *store.Tx) (*registry.Operation, error) {
		ref := registry.InstanceRef{Scope: w.scope(zone), ServiceID: w.services[service+"."+zone], ID: id}
		return registry.DeregisterInstance(tx, ref, registry.NewCall(time.Now()))
	})
}

// zoneID returns a zone's id as responses show it.
func (w *world) zoneID(zone string) *string {
	w.t.Helper()
	ns, err := registry.GetNamespace(w.db.Snapshot(), w.scope(zone), w.namespaces[zone])
	if err != nil {
		w.t.Fatal(err)
	}
	id := "/hostedzone/" + ns.ZoneID
	return &id
}

// arn returns a namespace's ARN.
func (w *world) arn(zone string) string {
	return "arn:aws:servicediscovery:" + w.regions[zone] + ":" + apitest.Account + ":namespace/" + w.namespaces[zone]
}

func s(text string) *string { return &text }

// line formats a record set: name, TTL, type, values; then identifier, policy, health check.
func line(set types.ResourceRecordSet) string {
	words := []string{*set.Name, fmt.Sprint(*set.TTL), string(set.Type)}
	for _, r := range set.ResourceRecords {
		words = append(words, *r.Value)
	}
	if set.SetIdentifier != nil {
		words = append(words, "id="+*set.SetIdentifier)
	}
	if aws.ToBool(set.MultiValueAnswer) {
		words = append(words, "multivalue")
	}
	if set.Weight != nil {
		words = append(words, fmt.Sprintf("weight=%d", *set.Weight))
	}
	if set.HealthCheckId != nil {
		words = append(words, "checked")
	}
	return strings.Join(words, " ")
}

// list returns a zone's record sets from a position. It reads them in pages of max.
func (w *world) list(zone string, max int32, from *types.ResourceRecordSet) []types.ResourceRecordSet {
	w.t.Helper()
	in := &r53.ListResourceRecordSetsInput{HostedZoneId: w.zoneID(zone), MaxItems: &max}
	if from != nil {
		in.StartRecordName, in.StartRecordType, in.StartRecordIdentifier = from.Name, from.Type, from.SetIdentifier
	}
	var all []types.ResourceRecordSet
	for pages := r53.NewListResourceRecordSetsPaginator(w, in); pages.HasMorePages(); {
		out := apitest.Must(pages.NextPage(w.t.Context()))(w.t)
		if len(out.ResourceRecordSets) > int(max) || *out.MaxItems != max {
			w.t.Fatalf("a page of %d record sets and MaxItems %d, want %d", len(out.ResourceRecordSets), *out.MaxItems,
				max)
		}
		all = append(all, out.ResourceRecordSets...)
	}
	return all
}

func lines(sets []types.ResourceRecordSet) []string {
	var all []string
	for _, set := range sets {
		all = append(all, line(set))
	}
	return all
}

// same fails the test unless the lines are those of want.
func same(tb testing.TB, what string, got []string, want string) {
	tb.Helper()
	wanted := strings.FieldsFunc(want, func(c rune) bool { return c == '\n' })
	for i := range wanted {
		wanted[i] = strings.TrimSpace(wanted[i])
	}
	wanted = slices.DeleteFunc(wanted, func(l string) bool { return l == "" })
	if !slices.Equal(got, wanted) {
		tb.Errorf("%s:\n%s\nwant:\n%s", what, strings.Join(got, "\n"), strings.Join(wanted, "\n"))
	}
}

// errorText returns an error as a client sees it: status, code and message.
func errorText(tb testing.TB, err error) string {
	tb.Helper()
	var api smithy.APIError
	var response *awshttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &response) {
		tb.Fatalf("not an error of the API: %v", err)
	}
	if response.ServiceRequestID() == "" {
		tb.Errorf("%v has no request id", err)
	}
	return fmt.Sprintf("%d %s: %s", response.HTTPStatusCode(), api.ErrorCode(), api.ErrorMessage())
}

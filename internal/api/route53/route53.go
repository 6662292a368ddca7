// Package route53 shows the DNS namespaces of Cloud Map as what they are at AWS: hosted zones of Route 53 (API
// version 2013-04-01), with a record set for each instance. It is for reading. Such a zone belongs to its
// namespace, so what would change it is refused, with AWS's words.
//
//	route53.go   the API as awsapi wants it, and the table from method and path to operation
//	zones.go     the operations on hosted zones
//	records.go   ListResourceRecordSets, and what a record set says
//	walk.go      the record sets of a zone in their order, from any position on
//	names.go     names as Route 53 writes and sorts them
//	question.go  TestDNSAnswer
//	settled.go   what always has the same answer: tags, limits, DNSSEC, changes
//	refused.go   what would write
//
// What a record set says comes from the directory, as DNS and DiscoverInstances do; the registry's rows give
// the order. An answer is made whole before it is sent, so nothing is held while a client reads. A page costs
// a pass over the namespaces and over the services of the zone, and one step for each record set on it,
// however many instances the services have.
//
// Route 53 is global: the zones of all regions of the account are shown together, whatever region a request is
// signed for. Differences from AWS are listed in docs/compat/route53.md.
package route53

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/store"
)

const (
	version   = "2013-04-01"
	namespace = "https://route53.amazonaws.com/doc/2013-04-01/" // of the XML
)

// API is the service.
type API struct {
	db  *store.Store
	dns *answer.Authority
}

var _ awsapi.API = (*API)(nil)

// New returns the API. The directory of dns must follow db (package publish); its name servers are those that
// the zones show.
func New(db *store.Store, dns *answer.Authority) *API { return &API{db, dns} }

// request is what an operation gets.
type request struct {
	account string
	path    []string // what stands at each {} of the route's path
	query   url.Values
	body    []byte
}

// route is an operation and the path behind the version that asks for it.
type route struct {
	method, path string
	operation    string
	call         func(*API, request) (any, error) // the answer is a struct with the tags of encoding/xml
}

// routes are the operations that are known here. Any other request gets UnknownOperationException.
var routes = []route{
	{"GET", "hostedzone", "ListHostedZones", (*API).listHostedZones},
	{"GET", "hostedzone/{}", "GetHostedZone", (*API).getHostedZone},
	{"GET", "hostedzonesbyname", "ListHostedZonesByName", (*API).listHostedZonesByName},
	{"GET", "hostedzonesbyvpc", "ListHostedZonesByVPC", (*API).listHostedZonesByVPC},
	{"GET", "hostedzonecount", "GetHostedZoneCount", (*API).getHostedZoneCount},
	{"GET", "hostedzone/{}/rrset", "ListResourceRecordSets", (*API).listResourceRecordSets},
	{"GET", "testdnsanswer", "TestDNSAnswer", (*API).testDNSAnswer},

	{"GET", "hostedzone/{}/dnssec", "GetDNSSEC", (*API).getDNSSEC},
	{"GET", "hostedzonelimit/{}/{}", "GetHostedZoneLimit", (*API).getHostedZoneLimit},
	{"GET", "accountlimit/{}", "GetAccountLimit", (*API).getAccountLimit},
	{"GET", "tags/{}/{}", "ListTagsForResource", (*API).listTagsForResource},
	{"POST", "tags/{}", "ListTagsForResources", (*API).listTagsForResources},
	{"GET", "change/{}", "GetChange", (*API).getChange},

	{"POST", "hostedzone", "CreateHostedZone", (*API).refuseCreateHostedZone},
	{"POST", "hostedzone/{}", "UpdateHostedZoneComment", (*API).refuseZoneChange},
	{"DELETE", "hostedzone/{}", "DeleteHostedZone", (*API).refuseZoneChange},
	{"POST", "hostedzone/{}/rrset", "ChangeResourceRecordSets", (*API).refuseZoneChange},
	{"POST", "hostedzone/{}/associatevpc", "AssociateVPCWithHostedZone", (*API).refuseZoneChange},
	{"POST", "hostedzone/{}/disassociatevpc", "DisassociateVPCFromHostedZone", (*API).refuseZoneChange},
	{"POST", "hostedzone/{}/enable-dnssec", "EnableHostedZoneDNSSEC", (*API).refuseZoneChange},
	{"POST", "hostedzone/{}/disable-dnssec", "DisableHostedZoneDNSSEC", (*API).refuseZoneChange},
	{"POST", "tags/{}/{}", "ChangeTagsForResource", (*API).refuseTags},
	{"POST", "healthcheck", "CreateHealthCheck", (*API).refuseHealthCheck},
	{"POST", "healthcheck/{}", "UpdateHealthCheck", (*API).refuseHealthCheck},
	{"DELETE", "healthcheck/{}", "DeleteHealthCheck", (*API).refuseHealthCheck},
}

// segments takes a path apart behind the version; an endpoint URL may have put something in front. Ids may come
// as they are given out, with their type: hostedzone//hostedzone/Z1 is hostedzone/Z1.
func segments(path string) []string {
	_, rest, _ := strings.Cut(path, "/"+version+"/")
	return slices.Compact(strings.FieldsFunc(rest, func(c rune) bool { return c == '/' }))
}

// match reports whether a path is the route's, and what it has at each {}.
func (r *route) match(path []string) (at []string, ok bool) {
	pattern := strings.Split(r.path, "/")
	if len(pattern) != len(path) {
		return nil, false
	}
	for i, part := range pattern {
		switch part {
		case "{}":
			at = append(at, path[i])
		case path[i]:
		default:
			return nil, false
		}
	}
	return at, true
}

// Scope is "route53".
func (*API) Scope() string { return "route53" }

// ContentType is XML.
func (*API) ContentType() string { return "text/xml" }

// Operation finds the route of a request.
func (*API) Operation(r *http.Request, _ []byte) (string, error) {
	path := segments(r.URL.Path)
	for i := range routes {
		if _, ok := routes[i].match(path); ok && routes[i].method == r.Method {
			return routes[i].operation, nil
		}
	}
	return "", &awsapi.Error{Code: "UnknownOperationException", Status: http.StatusNotFound, Message: fmt.Sprintf(
		"%s %.100q is no operation of Route 53 that is served here.", r.Method, r.URL.Path)}
}

// Call runs the operation.
func (a *API) Call(ctx context.Context, operation string, body, dst []byte) ([]byte, error) {
	r := routes[slices.IndexFunc(routes, func(r route) bool { return r.operation == operation })]
	u := awsapi.RequestURL(ctx)
	at, _ := r.match(segments(u.Path))
	out, err := r.call(a, request{awsapi.CallerFrom(ctx).Account, at, u.Query(), body})
	if err != nil {
		return dst, err
	}
	return awsapi.AppendXML(dst, operation+"Response", namespace, out)
}

// Translate has nothing to translate: the operations make errors of the protocol.
func (*API) Translate(error) error { return nil }

// AppendError renders an error as an ErrorResponse.
func (*API) AppendError(dst []byte, err smithy.APIError, requestID string) ([]byte, int) {
	return awsapi.AppendXMLError(dst, namespace, err, requestID)
}

// maxItems is how many items a page may have: what the request says, and most unless it says less.
func (r request) maxItems(most int) (int, error) {
	text := r.query.Get("maxitems")
	if text == "" {
		return most, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 {
		return 0, invalid("MaxItems is a number from 1 on, not %.100q", text)
	}
	return int(min(n, int64(most))), nil
}

// The errors of the model that reading can have (API Reference, "Errors" of each operation).

func invalid(msg string, args ...any) error {
	return &awsapi.Error{Code: "InvalidInput", Message: fmt.Sprintf(msg, args...)}
}

func notFound(code, msg string, args ...any) error {
	return &awsapi.Error{Code: code, Message: fmt.Sprintf(msg, args...), Status: http.StatusNotFound}
}

func accessDenied(msg string, args ...any) error {
	return &awsapi.Error{Code: "AccessDenied", Message: fmt.Sprintf(msg, args...), Status: http.StatusForbidden}
}

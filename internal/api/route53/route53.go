// Package route53 shows the DNS namespaces of Cloud Map as hosted zones of Route 53 (API version 2013-04-01), which
// they are at AWS, with a record set for each instance. The API is read-only: a zone belongs to its namespace, so
// operations that would change it fail with AWS's error.
//
//	route53.go        the API, and the table from method and path to operation
//	zones.go          the operations on hosted zones
//	records.go        ListResourceRecordSets, and the contents of record sets
//	walk.go           the record sets of a zone in order, from any position
//	names.go          names as Route 53 writes and sorts them
//	testdnsanswer.go  TestDNSAnswer
//	fixed.go          operations with a fixed result: tags, limits, DNSSEC, changes
//	writes.go         operations that would write
//
// The contents of record sets come from the directory, as those of DNS and DiscoverInstances do. The registry's rows
// determine the order. A response is complete before it is sent, so nothing is locked while a client reads it. A page
// costs one scan of the namespaces and of the zone's services, and one step for each record set on it, however many
// instances the services have.
//
// Route 53 is global: the zones of all regions of the account are shown together, whatever region a request is signed
// for. docs/compat/route53.md lists the differences from AWS.
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

// New returns the API. The directory of dns must follow db (package publish). The zones show the name servers of dns.
func New(db *store.Store, dns *answer.Authority) *API { return &API{db, dns} }

// request is the input of an operation.
type request struct {
	account string
	path    []string // the segments at each {} of the route's path
	query   url.Values
	body    []byte
}

// route is an operation with its method and its path after the version.
type route struct {
	method, path string
	operation    string
	call         func(*API, request) (any, error) // returns a struct with tags of encoding/xml
}

// routes lists the supported operations. Other requests receive UnknownOperationException.
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

	{"POST", "hostedzone", "CreateHostedZone", (*API).rejectCreateHostedZone},
	{"POST", "hostedzone/{}", "UpdateHostedZoneComment", (*API).rejectZoneChange},
	{"DELETE", "hostedzone/{}", "DeleteHostedZone", (*API).rejectZoneChange},
	{"POST", "hostedzone/{}/rrset", "ChangeResourceRecordSets", (*API).rejectZoneChange},
	{"POST", "hostedzone/{}/associatevpc", "AssociateVPCWithHostedZone", (*API).rejectZoneChange},
	{"POST", "hostedzone/{}/disassociatevpc", "DisassociateVPCFromHostedZone", (*API).rejectZoneChange},
	{"POST", "hostedzone/{}/enable-dnssec", "EnableHostedZoneDNSSEC", (*API).rejectZoneChange},
	{"POST", "hostedzone/{}/disable-dnssec", "DisableHostedZoneDNSSEC", (*API).rejectZoneChange},
	{"POST", "tags/{}/{}", "ChangeTagsForResource", (*API).rejectTags},
	{"POST", "healthcheck", "CreateHealthCheck", (*API).rejectHealthCheck},
	{"POST", "healthcheck/{}", "UpdateHealthCheck", (*API).rejectHealthCheck},
	{"DELETE", "healthcheck/{}", "DeleteHealthCheck", (*API).rejectHealthCheck},
}

// segments splits the part of a path after the version; an endpoint URL may have added a prefix. Ids may include their
// type, as in responses: hostedzone//hostedzone/Z1 means hostedzone/Z1.
func segments(path string) []string {
	_, rest, _ := strings.Cut(path, "/"+version+"/")
	return slices.Compact(strings.FieldsFunc(rest, func(c rune) bool { return c == '/' }))
}

// match reports whether a path matches the route, and returns the segments at each {}.
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

// Scope returns "route53".
func (*API) Scope() string { return "route53" }

// ContentType returns the media type of XML.
func (*API) ContentType() string { return "text/xml" }

// Operation returns the operation of the request's route.
func (*API) Operation(r *http.Request, _ []byte) (string, error) {
	path := segments(r.URL.Path)
	for i := range routes {
		if _, ok := routes[i].match(path); ok && routes[i].method == r.Method {
			return routes[i].operation, nil
		}
	}
	return "", &awsapi.Error{Code: "UnknownOperationException", Status: http.StatusNotFound, Message: fmt.Sprintf(
		"%s %.100q is not an operation of Route 53 on this server.", r.Method, r.URL.Path)}
}

// Call runs an operation and appends its output to dst.
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

// Translate returns nil: the operations return errors of the protocol.
func (*API) Translate(error) error { return nil }

// AppendError appends an ErrorResponse.
func (*API) AppendError(dst []byte, err smithy.APIError, requestID string) ([]byte, int) {
	return awsapi.AppendXMLError(dst, namespace, err, requestID)
}

// maxItems returns the size of a page: the request's, but at most most, which is also the default.
func (r request) maxItems(most int) (int, error) {
	text := r.query.Get("maxitems")
	if text == "" {
		return most, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 {
		return 0, invalid("MaxItems must be a number of at least 1, not %.100q", text)
	}
	return int(min(n, int64(most))), nil
}

// The errors of the model that read operations return (API Reference, "Errors" of each operation).

func invalid(msg string, args ...any) error {
	return &awsapi.Error{Code: "InvalidInput", Message: fmt.Sprintf(msg, args...)}
}

func notFound(code, msg string, args ...any) error {
	return &awsapi.Error{Code: code, Message: fmt.Sprintf(msg, args...), Status: http.StatusNotFound}
}

func accessDenied(msg string, args ...any) error {
	return &awsapi.Error{Code: "AccessDenied", Message: fmt.Sprintf(msg, args...), Status: http.StatusForbidden}
}

package route53

import (
	"encoding/xml"
	"math"
	"strings"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/store"
)

// tagSet is the tags of a resource. Route 53's tags are different from Cloud Map's, and this server cannot set them.
type tagSet struct {
	ResourceType string
	ResourceID   string `xml:"ResourceId"`
	Tags         struct{}
}

const (
	zoneResource        = "hostedzone"
	healthCheckResource = "healthcheck"
)

// maxTagged is the largest number of resources of ListTagsForResources.
const maxTagged = 10

// tags returns the tags of a resource.
func (r request) tags(now *store.Snapshot, kind, id string) (tagSet, error) {
	switch kind {
	case zoneResource:
		if _, err := r.zone(now, id); err != nil {
			return tagSet{}, err
		}
		return tagSet{ResourceType: kind, ResourceID: id}, nil
	case healthCheckResource:
		return tagSet{}, noSuchHealthCheck(id)
	}
	return tagSet{}, invalid("ResourceType must be %s or %s, not %.100q", zoneResource, healthCheckResource, kind)
}

func noSuchHealthCheck(id string) error {
	return notFound("NoSuchHealthCheck", "No health check exists with the specified ID %.100s", id)
}

func (a *API) listTagsForResource(r request) (any, error) {
	set, err := r.tags(a.db.Snapshot(), r.path[0], r.path[1])
	return struct{ ResourceTagSet tagSet }{set}, err
}

func (a *API) listTagsForResources(r request) (any, error) {
	var in struct {
		IDs []string `xml:"ResourceIds>ResourceId"`
	}
	if err := xml.Unmarshal(r.body, &in); err != nil {
		return nil, invalid("The body is not a ListTagsForResourcesRequest: %v", err)
	}
	if len(in.IDs) < 1 || len(in.IDs) > maxTagged {
		return nil, invalid("ResourceIds must have 1 to %d members, not %d", maxTagged, len(in.IDs))
	}
	var out struct {
		ResourceTagSets struct{ ResourceTagSet []tagSet }
	}
	snapshot := a.db.Snapshot()
	for _, id := range in.IDs {
		set, err := r.tags(snapshot, r.path[0], plainZone(strings.TrimSpace(id)))
		if err != nil {
			return nil, err
		}
		out.ResourceTagSets.ResourceTagSet = append(out.ResourceTagSets.ResourceTagSet, set)
	}
	return out, nil
}

// noLimit is the value of a limit that does not exist. The shape cannot express that.
const noLimit = math.MaxInt32

type limitOutput struct {
	Type  string `xml:"Limit>Type"`
	Value int    `xml:"Limit>Value"`
	Count int
}

func (a *API) getHostedZoneLimit(r request) (any, error) {
	snapshot := a.db.Snapshot()
	ns, err := r.zone(snapshot, r.path[0])
	if err != nil {
		return nil, err
	}
	out := limitOutput{Type: r.path[1], Value: noLimit}
	switch {
	case out.Type == "MAX_RRSETS_BY_ZONE":
		out.Count = a.countRecordSets(snapshot, ns)
	case out.Type == "MAX_VPCS_ASSOCIATED_BY_ZONE" && ns.VPC != "":
		out.Value, out.Count = 1, 1
	case out.Type == "MAX_VPCS_ASSOCIATED_BY_ZONE":
		return nil, &awsapi.Error{Code: "HostedZoneNotPrivate", Message: "The hosted zone is public and has no VPCs."}
	default:
		return nil, invalid("%.100q is not a limit of a hosted zone", out.Type)
	}
	return out, nil
}

func (a *API) getAccountLimit(r request) (any, error) {
	out := limitOutput{Type: r.path[0], Value: noLimit}
	switch out.Type {
	case "MAX_HOSTED_ZONES_BY_OWNER":
		out.Count = len(zones(a.db.Snapshot(), r.account, anyNamespace))
	case "MAX_HEALTH_CHECKS_BY_OWNER", "MAX_REUSABLE_DELEGATION_SETS_BY_OWNER",
		"MAX_TRAFFIC_POLICIES_BY_OWNER", "MAX_TRAFFIC_POLICY_INSTANCES_BY_OWNER": // this server has none of these
	default:
		return nil, invalid("%.100q is not a limit of an account", out.Type)
	}
	return out, nil
}

func (a *API) getDNSSEC(r request) (any, error) {
	if _, err := r.zone(a.db.Snapshot(), r.path[0]); err != nil {
		return nil, err
	}
	return struct {
		ServeSignature string `xml:"Status>ServeSignature"`
		KeySigningKeys struct{}
	}{ServeSignature: "NOT_SIGNING"}, nil
}

// getChange always fails: no change can be made through this API, and only a change would return an id.
func (a *API) getChange(r request) (any, error) {
	return nil, notFound("NoSuchChange", "Could not find resource with ID: %.100s", r.path[0])
}

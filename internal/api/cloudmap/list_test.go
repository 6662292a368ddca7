package cloudmap_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
)

// TestPaging reads each paged operation with one item on a page, while other items are created and deleted. Items that
// exist from the first page to the last are seen exactly once, in a stable order, and no token is returned twice.
func TestPaging(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ns := w.httpNamespace("kept")
	svc := w.service(ns, "kept", "custom")
	churn := 0
	createAndDelete := func() { // creates and deletes one item of each kind between two pages
		churn++
		name := fmt.Sprintf("churn%d", churn)
		other := w.httpNamespace(name)
		passing := w.service(ns, name, "")
		w.register(svc, name, "")
		apitest.Must(w.DeleteService(ctx, &sd.DeleteServiceInput{Id: &passing}))(t)
		apitest.Must(w.DeleteNamespace(ctx, &sd.DeleteNamespaceInput{Id: &other}))(t)
		w.deregister(svc, name)
	}
	var namespaces, services, instances []string
	for i := range 5 {
		namespaces = append(namespaces, w.httpNamespace(fmt.Sprintf("n%d", i)))
		services = append(services, w.service(ns, fmt.Sprintf("s%d", i), ""))
		id := fmt.Sprintf("i/%d", i)
		w.register(svc, id, "")
		instances = append(instances, id)
	}
	ops := apitest.Must(w.ListOperations(ctx, &sd.ListOperationsInput{}))(t)
	var operations []string
	for _, op := range ops.Operations {
		operations = append(operations, *op.Id)
	}
	for _, tc := range []struct {
		name string
		stay []string
		page func(token *string) (ids []string, next *string)
	}{
		{"ListNamespaces", namespaces, func(token *string) (ids []string, next *string) {
			out := apitest.Must(w.ListNamespaces(ctx, &sd.ListNamespacesInput{MaxResults: n(1), NextToken: token}))(t)
			for _, x := range out.Namespaces {
				ids = append(ids, *x.Id)
			}
			return ids, out.NextToken
		}},
		{"ListServices", services, func(token *string) (ids []string, next *string) {
			out := apitest.Must(w.ListServices(ctx, &sd.ListServicesInput{MaxResults: n(1), NextToken: token,
				Filters: []types.ServiceFilter{{Name: "NAMESPACE_ID", Values: []string{ns}}}}))(t)
			for _, x := range out.Services {
				ids = append(ids, *x.Id)
			}
			return ids, out.NextToken
		}},
		{"ListServices of all namespaces", services, func(token *string) (ids []string, next *string) {
			out := apitest.Must(w.ListServices(ctx, &sd.ListServicesInput{MaxResults: n(1), NextToken: token}))(t)
			for _, x := range out.Services {
				ids = append(ids, *x.Id)
			}
			return ids, out.NextToken
		}},
		{"ListInstances", instances, func(token *string) (ids []string, next *string) {
			out := apitest.Must(w.ListInstances(ctx, &sd.ListInstancesInput{ServiceId: &svc, MaxResults: n(1),
				NextToken: token}))(t)
			for _, x := range out.Instances {
				ids = append(ids, *x.Id)
			}
			return ids, out.NextToken
		}},
		{"GetInstancesHealthStatus", instances, func(token *string) (ids []string, next *string) {
			out := apitest.Must(w.GetInstancesHealthStatus(ctx, &sd.GetInstancesHealthStatusInput{ServiceId: &svc,
				MaxResults: n(1), NextToken: token}))(t)
			for id := range out.Status {
				ids = append(ids, id)
			}
			return ids, out.NextToken
		}},
		{"GetInstancesHealthStatus of some", instances[1:4], func(token *string) (ids []string, next *string) {
			out := apitest.Must(w.GetInstancesHealthStatus(ctx, &sd.GetInstancesHealthStatusInput{ServiceId: &svc,
				MaxResults: n(1), NextToken: token,
				Instances: []string{instances[3], instances[1], instances[2], instances[1]}}))(t)
			for id := range out.Status {
				ids = append(ids, id)
			}
			return ids, out.NextToken
		}},
		{"ListOperations", operations, func(token *string) (ids []string, next *string) {
			out := apitest.Must(w.ListOperations(ctx, &sd.ListOperationsInput{MaxResults: n(1), NextToken: token}))(t)
			for _, x := range out.Operations {
				ids = append(ids, *x.Id)
			}
			return ids, out.NextToken
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var seen []string
			tokens := map[string]bool{}
			for token := (*string)(nil); ; {
				ids, next := tc.page(token)
				if len(ids) > 1 {
					t.Fatalf("a page has %d items, want at most 1", len(ids))
				}
				seen = append(seen, ids...)
				if next == nil {
					break
				}
				if len(ids) == 0 || tokens[*next] {
					t.Fatalf("an empty page has a token, or a token is returned twice")
				}
				tokens[*next] = true
				token = next
				createAndDelete()
			}
			for _, id := range tc.stay {
				if count := len(slices.DeleteFunc(slices.Clone(seen),
					func(s string) bool { return s != id })); count != 1 {
					t.Errorf("%s was seen %d times in %v", id, count, seen)
				}
			}
			for token := range tokens {
				if _, err := w.ListNamespaces(ctx,
					&sd.ListNamespacesInput{NextToken: &token}); tc.name != "ListNamespaces" &&
					apitest.ErrorCode(err) != "InvalidInput" {
					t.Errorf("ListNamespaces with a token of %s: %v", tc.name, err)
				}
				break
			}
		})
	}
}

// TestNamespaceFilters checks that a namespace is listed only if it matches all filters.
func TestNamespaceFilters(t *testing.T) {
	w := newWorld(t)
	w.httpNamespace("alpha")
	w.httpNamespace("alps")
	w.privateNamespace("alpha.local", "vpc-1")
	w.privateNamespace("alpha.local", "vpc-2")
	w.publicNamespace("beta.example")
	for _, tc := range []struct{ filters, want string }{ // NAME CONDITION value value; ...
		{"", "alpha alpha.local alpha.local alps beta.example"},
		{"TYPE . HTTP", "alpha alps"},
		{"TYPE EQ DNS_PRIVATE", "alpha.local alpha.local"},
		{"TYPE BEGINS_WITH DNS_", "alpha.local alpha.local beta.example"},
		{"TYPE IN HTTP DNS_PUBLIC", "alpha alps beta.example"},
		{"NAME EQ alpha", "alpha"},
		{"NAME EQ ALPHA", ""},
		{"NAME BEGINS_WITH al", "alpha alpha.local alpha.local alps"},
		{"NAME BEGINS_WITH al; TYPE EQ HTTP", "alpha alps"},
		{"HTTP_NAME EQ alpha.local", "alpha.local"},
		{"HTTP_NAME BEGINS_WITH alpha.local-", "alpha.local"},
		{"RESOURCE_OWNER EQ SELF", "alpha alpha.local alpha.local alps beta.example"},
		{"RESOURCE_OWNER EQ OTHER_ACCOUNTS", ""},
	} {
		in := &sd.ListNamespacesInput{Filters: []types.NamespaceFilter{}}
		for f := range strings.SplitSeq(tc.filters, "; ") {
			if words := strings.Fields(f); len(words) > 0 {
				condition := types.FilterCondition(strings.TrimPrefix(words[1], "."))
				in.Filters = append(in.Filters, types.NamespaceFilter{Name: types.NamespaceFilterName(words[0]),
					Condition: condition, Values: words[2:]})
			}
		}
		var names []string
		for _, ns := range apitest.Must(w.ListNamespaces(t.Context(), in))(t).Namespaces {
			names = append(names, *ns.Name)
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.filters, got, tc.want)
		}
	}
}

// TestOperationFilters checks that operations are listed newest first, and that the operations of a deleted namespace
// are not listed but can still be read.
func TestOperationFilters(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ns := w.privateNamespace("shop.local", "vpc-1")
	svc := w.service(ns, "cart", "SRV 5")
	w.register(svc, "a", "IPV4=10.0.0.1 PORT=80")
	if op := w.register(svc, strings.Repeat("x", 64),
		"IPV4=10.0.0.1 PORT=80"); op.Status != types.OperationStatusFail ||
		aws.ToString(op.ErrorCode) != "INVALID_CHANGE_BATCH" {
		t.Errorf("an id that is not a DNS label: %+v", op)
	}
	w.deregister(svc, "a")
	apitest.Must(w.UpdateService(ctx, &sd.UpdateServiceInput{Id: &svc, Service: &types.ServiceChange{}}))(t)
	other := w.httpNamespace("other")
	apitest.Must(w.UpdateHttpNamespace(ctx, &sd.UpdateHttpNamespaceInput{Id: &other,
		Namespace: &types.HttpNamespaceChange{Description: s("d")}}))(t)
	gone := w.httpNamespace("gone")
	deletion := apitest.Must(w.DeleteNamespace(ctx, &sd.DeleteNamespaceInput{Id: &gone}))(t).OperationId
	if op := w.operation(deletion); op.Type != types.OperationTypeDeleteNamespace || op.Targets["NAMESPACE"] != gone {
		t.Errorf("the deletion: %+v", op)
	}

	list := func(filters ...types.OperationFilter) string {
		var kinds []string
		for _, o := range apitest.Must(w.ListOperations(ctx, &sd.ListOperationsInput{Filters: filters}))(t).Operations {
			op := apitest.Must(w.GetOperation(ctx, &sd.GetOperationInput{OperationId: o.Id}))(t).Operation
			kind := string(op.Type)
			if o.Status != op.Status {
				t.Errorf("%s is %s in the list and %s alone", *o.Id, o.Status, op.Status)
			}
			if op.Status == types.OperationStatusFail {
				kind += "!"
			}
			kinds = append(kinds, kind)
		}
		return strings.Join(kinds, " ")
	}
	by := func(name, condition string, values ...string) types.OperationFilter {
		return types.OperationFilter{Name: types.OperationFilterName(name),
			Condition: types.FilterCondition(condition), Values: values}
	}
	const shop = "UPDATE_SERVICE DEREGISTER_INSTANCE REGISTER_INSTANCE! REGISTER_INSTANCE CREATE_NAMESPACE"
	second := func(after time.Duration) string {
		return fmt.Sprintf("%.3f", float64(apitest.Epoch.Add(after).UnixMilli())/1000)
	}
	for _, tc := range []struct {
		name    string
		filters []types.OperationFilter
		want    string
	}{
		{"no filter", nil, "UPDATE_NAMESPACE CREATE_NAMESPACE " + shop},
		{"namespace", []types.OperationFilter{by("NAMESPACE_ID", "EQ", ns)}, shop},
		{"namespace by ARN", []types.OperationFilter{by("NAMESPACE_ID", "", arns+"namespace/"+ns)}, shop},
		{"service", []types.OperationFilter{by("SERVICE_ID", "EQ", svc)},
			"UPDATE_SERVICE DEREGISTER_INSTANCE REGISTER_INSTANCE! REGISTER_INSTANCE"},
		{"failed", []types.OperationFilter{by("STATUS", "EQ", "FAIL")}, "REGISTER_INSTANCE!"},
		{"succeeded, in the words of the documentation",
			[]types.OperationFilter{by("STATUS", "IN", "SUCCEED", "PENDING"), by("TYPE", "EQ", "REGISTER_INSTANCE")},
			"REGISTER_INSTANCE"},
		{"types", []types.OperationFilter{by("TYPE", "IN", "UPDATE_NAMESPACE", "UPDATE_SERVICE")},
			"UPDATE_NAMESPACE UPDATE_SERVICE"},
		{"all day", []types.OperationFilter{by("UPDATE_DATE", "BETWEEN", second(0), second(24*time.Hour))},
			"UPDATE_NAMESPACE CREATE_NAMESPACE " + shop},
		{"the first millisecond", []types.OperationFilter{by("UPDATE_DATE", "", second(0), second(time.Millisecond))},
			"CREATE_NAMESPACE"},
		{"the day before", []types.OperationFilter{by("UPDATE_DATE", "", second(-24*time.Hour), second(0))}, ""},
		{"deleted namespace", []types.OperationFilter{by("NAMESPACE_ID", "EQ", gone)}, ""},
	} {
		if got := list(tc.filters...); got != tc.want {
			t.Errorf("%s: %s\nwant %s", tc.name, got, tc.want)
		}
	}
}

// TestRegions checks that a region does not show the resources of another.
func TestRegions(t *testing.T) {
	w := newWorld(t)
	ns := w.httpNamespace("shop")
	w.service(ns, "cart", "")
	other := w.client(apitest.InRegion("us-east-1"))
	if got := apitest.Must(other.ListNamespaces(t.Context(), &sd.ListNamespacesInput{}))(t); len(got.Namespaces) != 0 {
		t.Errorf("namespaces in another region: %v", got.Namespaces)
	}
	if got := apitest.Must(other.ListServices(t.Context(), &sd.ListServicesInput{}))(t); len(got.Services) != 0 {
		t.Errorf("services in another region: %v", got.Services)
	}
	if got := apitest.Must(other.ListOperations(t.Context(), &sd.ListOperationsInput{}))(t); len(got.Operations) != 0 {
		t.Errorf("operations in another region: %v", got.Operations)
	}
	if _, err := other.CreateHttpNamespace(t.Context(), &sd.CreateHttpNamespaceInput{Name: s("shop")}); err != nil {
		t.Errorf("the same name in another region: %v", err)
	}
}

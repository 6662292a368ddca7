package cloudmap_test

import (
	"testing"

	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"

	"github.com/bakingclouds/rollcall/internal/api/apitest"
	"github.com/bakingclouds/rollcall/internal/registry"
)

// TestRepeatedCall checks that a call whose outcome is unknown can be repeated under its invocation id and then
// returns the first attempt's result, and that another caller's call with the same id does not receive it.
func TestRepeatedCall(t *testing.T) {
	db, loseNext := apitest.OpenLossy(t, registry.Schema()...)
	w := newWorldOn(t, db)
	ns := w.httpNamespace("shop")
	create := func(c *sd.Client, name string) (*sd.CreateServiceOutput, error) {
		return c.CreateService(t.Context(), &sd.CreateServiceInput{Name: &name, NamespaceId: &ns})
	}
	id := apitest.WithInvocationID("8f14e45f-ceea-467f-a8f9-8d5b5f1d0c11")
	first, second := w.client(id), w.client(id, apitest.As(apitest.OtherAdministrator))

	loseNext()
	if _, err := create(first, "cart"); apitest.ErrorCode(err) != "ServiceUnavailable" {
		t.Fatalf("first attempt: %v, want ServiceUnavailable", err)
	}
	if got := *apitest.Must(create(second, "stock"))(t).Service.Name; got != "stock" {
		t.Errorf("the other caller created stock and received %s", got)
	}
	if got := *apitest.Must(create(first, "cart"))(t).Service.Name; got != "cart" {
		t.Errorf("the repeated call created cart and received %s", got)
	}
}

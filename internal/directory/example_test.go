package directory_test

import (
	"fmt"
	"net/netip"

	"github.com/bakingclouds/rollcall/internal/directory"
)

func Example() {
	d := directory.New()

	// Each Apply is one revision of the store. Readers see a service either before or after it, never in between.
	d.Apply(1, func(b *directory.Batch) {
		b.PutNamespace(directory.Namespace{
			ID: "ns-1", Region: "eu-central-1", Name: "corp", HTTPName: "corp", Kind: directory.Private,
		})
		b.PutService(directory.Service{
			ID: "srv-1", NamespaceID: "ns-1", Name: "cart",
			Records: []directory.Record{{Type: directory.A, TTL: 60}},
		})
		b.PutInstance(&directory.Instance{ID: "i-1", ServiceID: "srv-1", IPv4: netip.MustParseAddr("10.0.0.7")})
		b.PutInstance(&directory.Instance{ID: "i-2", ServiceID: "srv-1", IPv4: netip.MustParseAddr("10.0.0.8")})
	})
	before := discover(d)
	d.Apply(2, func(b *directory.Batch) {
		b.PutInstance(&directory.Instance{
			ID: "i-2", ServiceID: "srv-1", IPv4: netip.MustParseAddr("10.0.0.8"), State: directory.Draining,
		})
	})

	fmt.Println("revision", d.Applied())
	printAnswerable(discover(d))
	fmt.Println("the earlier view is stale:", before.Stale())
	printAnswerable(before)

	// Output:
	// revision 2
	// cart.corp: i-1=10.0.0.7
	// the earlier view is stale: true
	// cart.corp: i-1=10.0.0.7 i-2=10.0.0.8
}

// discover finds the service by the names that DiscoverInstances uses. In DNS namespaces they ignore case.
func discover(d *directory.Directory) *directory.View {
	_, v := d.Discover("eu-central-1", "corp", "Cart")
	return v
}

// printAnswerable prints the instances that an answer may contain.
func printAnswerable(v *directory.View) {
	fmt.Print(v.FullName, ":")
	set := v.Answerable()
	for k := range set.Len() {
		i := set.At(k)
		fmt.Printf(" %s=%s", i.ID, i.IPv4)
	}
	fmt.Println()
}

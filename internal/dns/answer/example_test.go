package answer_test

import (
	"fmt"
	"net/netip"

	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/dns/dnstest"
)

// The directory is written in the zone-file notation of package dnstest.
func Example() {
	dir := directory.New()
	err := dnstest.Add(dir, `
zone corp. private 10.0.0.0/8
cart  SRV 60
  i-1   10.0.0.7 :8080
  i-2   10.0.0.8 :8080 draining
`)
	if err != nil {
		fmt.Println(err)
		return
	}
	authority := &answer.Authority{Directory: dir}
	var reply answer.Reply
	query := answer.Query{
		Name:   "cart.corp",
		Type:   uint16(directory.SRV),
		Client: netip.MustParseAddr("10.0.0.99"),
		Rand:   1, // makes the order of the instances reproducible
	}
	authority.Answer(query, &reply)
	fmt.Print(format("cart.corp.", &reply))

	// A private namespace answers only its own networks.
	query.Client = netip.MustParseAddr("192.0.2.1")
	authority.Answer(query, &reply)
	fmt.Println(format("cart.corp.", &reply))

	// Output:
	// NOERROR
	// answer:
	// cart.corp. 60 SRV 1 1 8080 i-1.cart.corp.
	// additional:
	// i-1.cart.corp. 60 A 10.0.0.7
	// outside our zones
}

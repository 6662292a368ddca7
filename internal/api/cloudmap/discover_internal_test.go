package cloudmap

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
	"github.com/bakingclouds/rollcall/internal/attributes"
	"github.com/bakingclouds/rollcall/internal/directory"
)

// TestRandomPositions checks that positions are different and in range, and that each position is equally frequent at
// each place.
func TestRandomPositions(t *testing.T) {
	for _, tc := range []struct{ n, k int }{{0, 0}, {1, 1}, {5, 5}, {6, 2}, {9, 2}, {40, 3}} {
		const rounds = 20_000
		counts := make([][]int, tc.k)
		for i := range counts {
			counts[i] = make([]int, tc.n)
		}
		for range rounds {
			got := randomPositions(tc.n, tc.k)
			if len(got) != tc.k {
				t.Fatalf("%d of %d: %v", tc.k, tc.n, got)
			}
			for place, i := range got {
				counts[place][i]++
			}
			slices.Sort(got)
			if len(slices.Compact(got)) != tc.k {
				t.Fatalf("%d of %d: a position appears twice in %v", tc.k, tc.n, got)
			}
		}
		for place := range counts {
			chi := 0.0
			for _, seen := range counts[place] {
				expected := float64(rounds) / float64(tc.n)
				chi += (float64(seen) - expected) * (float64(seen) - expected) / expected
			}
			// A chi-square of n-1 has the standard deviation sqrt(2(n-1)), so a value this far from the mean is not
			// chance.
			if limit := float64(tc.n) + 60; chi > limit {
				t.Errorf("%d of %d, place %d: chi-square %.0f over %.0f, counts %v", tc.k, tc.n, place, chi, limit,
					counts[place])
			}
		}
	}
}

// newDirectoryAPI returns an API whose directory contains one service with n instances.
func newDirectoryAPI(n int) (*api, context.Context, *sd.DiscoverInstancesInput) {
	dir := directory.New()
	dir.Apply(1, func(b *directory.Batch) {
		b.PutNamespace(directory.Namespace{ID: "ns-1", Region: "eu-west-1", Name: "shop", HTTPName: "shop"})
		b.PutService(directory.Service{ID: "srv-1", NamespaceID: "ns-1", Name: "cart", HealthChecked: true})
		for i := range n {
			b.PutInstance(&directory.Instance{
				ID: fmt.Sprintf("i-%07d", i), ServiceID: "srv-1",
				IPv4: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}),
				Attributes: attributes.Of(map[string]string{"AWS_INSTANCE_IPV4": "10.0.0.1",
					"AWS_INSTANCE_PORT": "8080", "zone": "a"}),
			})
		}
	})
	ctx := awsapi.WithCaller(context.Background(), awsapi.Caller{Account: "123456789012", Region: "eu-west-1"})
	namespace, service := "shop", "cart"
	return &api{dir: dir, now: time.Now}, ctx, &sd.DiscoverInstancesInput{NamespaceName: &namespace,
		ServiceName: &service}
}

// TestDiscoverAllocations checks that the number of allocations does not grow with the number of instances.
func TestDiscoverAllocations(t *testing.T) {
	for _, n := range []int{1, 100, 10_000} {
		a, ctx, in := newDirectoryAPI(n)
		got := testing.AllocsPerRun(100, func() {
			if _, err := a.discoverInstances(ctx, in); err != nil {
				t.Fatal(err)
			}
		})
		if got > 16 {
			t.Errorf("%d instances: %.0f allocations", n, got)
		}
	}
}

// BenchmarkDiscover measures the handler without signature and JSON.
func BenchmarkDiscover(b *testing.B) {
	for _, n := range []int{4, 100, 100_000} {
		a, ctx, in := newDirectoryAPI(n)
		b.Run(fmt.Sprintf("of %d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.discoverInstances(ctx, in); err != nil {
					b.Fatal(err)
				}
			}
		})
		in.QueryParameters = map[string]string{"zone": "a"}
		b.Run(fmt.Sprintf("of %d by zone", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.discoverInstances(ctx, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

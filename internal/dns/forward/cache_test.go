package forward

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/internal/dns/dnstest"
)

func message(records ...string) *dns.Msg {
	return dnstest.Reply(new(dns.Msg).SetQuestion("example.net.", dns.TypeA), dns.RcodeSuccess, records...)
}

func TestLifetime(t *testing.T) {
	const soa = "example.net. 100 IN SOA ns. host. 1 2 3 4 "
	for _, tc := range []struct {
		name    string
		rcode   int
		records []string
		want    time.Duration
	}{
		{"smallest TTL", 0, []string{"example.net. 60 IN A 192.0.2.1", "example.net. 30 IN A 192.0.2.2"},
			30 * time.Second},
		{"at most five minutes", 0, []string{"example.net. 86400 IN A 192.0.2.1"}, 5 * time.Minute},
		{"TTL 0", 0, []string{"example.net. 0 IN A 192.0.2.1"}, 0},
		{"negative, the SOA's minimum", dns.RcodeNameError, []string{soa + "50"}, 50 * time.Second},
		{"negative, the SOA's TTL", dns.RcodeNameError, []string{soa + "500"}, 100 * time.Second},
		{"NODATA", 0, []string{soa + "50"}, 50 * time.Second},
		{"NODATA at the end of a CNAME", 0, []string{"example.net. 60 IN CNAME x.", soa + "20"}, 20 * time.Second},
		{"negative without SOA", dns.RcodeNameError, nil, 0},
		{"NODATA without SOA", 0, nil, 0},
	} {
		m := message(tc.records...)
		m.Rcode = tc.rcode
		if got := lifetime(m); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestCacheTTLs(t *testing.T) {
	c, now := newCache(10), time.Now()
	c.add("k", message("example.net. 60 IN A 192.0.2.1", "example.net. 40 IN A 192.0.2.2"), now)
	for _, tc := range []struct {
		age  time.Duration
		want string
	}{
		{0, "60 40"}, {1500 * time.Millisecond, "59 39"}, {39 * time.Second, "21 1"}, {40 * time.Second, ""}, {0, ""},
	} {
		got := ""
		if m := c.get("k", now.Add(tc.age)); m != nil {
			got = fmt.Sprint(m.Answer[0].Header().Ttl, " ", m.Answer[1].Header().Ttl)
		}
		if got != tc.want {
			t.Errorf("after %v: TTLs %q, want %q", tc.age, got, tc.want)
		}
	}
}

func TestCacheLimits(t *testing.T) {
	c, now := newCache(3), time.Now()
	for k := range 5 {
		c.add(fmt.Sprint(k), message("example.net. 60 IN A 192.0.2.1"), now)
		c.get("0", now) // the most recently used entry stays
	}
	got := ""
	for k := range 5 {
		if c.get(fmt.Sprint(k), now) != nil {
			got += fmt.Sprint(k)
		}
	}
	if got != "034" || c.recent.Len() != 3 || len(c.entries) != 3 {
		t.Errorf("cached %q (%d, %d entries), want 034", got, c.recent.Len(), len(c.entries))
	}
	large := message()
	for k := range 400 {
		large.Answer = append(large.Answer, message(fmt.Sprintf("example.net. 60 IN A 192.0.2.%d", k%256)).Answer...)
	}
	if c.add("large", large, now); c.get("large", now) != nil {
		t.Errorf("a message of %d octets is cached", large.Len())
	}
}

package agent

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestResolverConf(t *testing.T) {
	const head = "# Written by Rollcall for this task.\nnameserver 127.64.1.2\n"
	address := netip.MustParseAddr("127.64.1.2")
	if got := (Resolver{Nameserver: address}).Conf(); got != head {
		t.Errorf("without search: %q, want %q", got, head)
	}
	if got, want := (Resolver{Nameserver: address, Search: []string{"corp", "example.org"}}).Conf(),
		head+"search corp example.org\n"; got != want {
		t.Errorf("with search: %q, want %q", got, want)
	}
}

func TestHealthCheckArgv(t *testing.T) {
	for _, tc := range []struct {
		command []string
		want    string
	}{
		{nil, "[]"},
		{[]string{"NONE"}, "[]"},
		{[]string{"CMD", "curl", "-f", "localhost"}, "[curl -f localhost]"},
		{[]string{"CMD-SHELL", "curl -f localhost || exit 1"}, "[/bin/sh -c curl -f localhost || exit 1]"},
		{[]string{"CMD"}, "error"},
		{[]string{"CMD-SHELL"}, "error"},
		{[]string{"curl", "-f"}, "error"},
	} {
		argv, err := (&HealthCheck{Command: tc.command}).Argv()
		got := fmt.Sprint(argv)
		if err != nil {
			got = "error"
		}
		if got != tc.want {
			t.Errorf("Argv of %q = %s, %v; want %s", tc.command, got, err, tc.want)
		}
	}
}

package docker

import (
	"fmt"
	"io"
	"time"

	"github.com/miekg/dns"
)

// testRole is the role of this binary that asks a DNS server from inside a container: "resolve-test ADDRESS:PORT".
const testRole = "resolve-test"

// testWait is how long one question of the self-test waits for its answer, and testTries how often it is asked.
const (
	testWait  = time.Second
	testTries = 3
)

// resolveTest asks a server over UDP and TCP, and says on out what does not come through. Any answer will do.
func resolveTest(server string, out io.Writer) (status int) {
	for _, network := range []string{"udp", "tcp"} {
		if err := ask(network, server); err != nil {
			fmt.Fprintf(out, "over %s: %v\n", network, err)
			status = 1
		}
	}
	return status
}

func ask(network, server string) (err error) {
	question := new(dns.Msg).SetQuestion("rollcall.internal.", dns.TypeSOA)
	client := dns.Client{Net: network, Timeout: testWait}
	for range testTries {
		if _, _, err = client.Exchange(question, server); err == nil {
			return nil
		}
	}
	return err
}

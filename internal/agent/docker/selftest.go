package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// testRole is the role of this binary that asks a DNS server from inside a container: "resolve-test ADDRESS:PORT".
const testRole = "resolve-test"

// testWait is how long the self-test waits for an answer over each of UDP and TCP.
const testWait = 3 * time.Second

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

func ask(network, server string) error {
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	failed := make(chan error, 16) // to reach the server; more than the resolver tries
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, server)
		if err != nil {
			select {
			case failed <- err:
			default:
			}
		}
		return c, err
	}}
	_, err := r.LookupHost(ctx, "rollcall.internal.")
	var answer *net.DNSError
	select {
	case err := <-failed:
		return err
	default:
	}
	if errors.As(err, &answer) && !answer.IsTimeout && (answer.IsNotFound || answer.Err == "server misbehaving") {
		return nil // it has answered something
	}
	return err
}

package role

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// ResolveTest is the command of a self-test container. Its argument is the address and port of a DNS server.
const ResolveTest = "resolve-test"

// answerTimeout limits the wait for an answer, over each of UDP and TCP.
const answerTimeout = 3 * time.Second

// resolveTest sends a query over UDP and TCP and prints to out which of them got no answer. Any answer counts.
func resolveTest(server string, out io.Writer) (status int) {
	for _, network := range []string{"udp", "tcp"} {
		ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
		if err := query(ctx, network, server); err != nil {
			fmt.Fprintf(out, "over %s: %v\n", network, err)
			status = 1
		}
		cancel()
	}
	return status
}

// query returns nil if the server answers anything, an error response included.
func query(ctx context.Context, network, server string) error {
	dialErrors := make(chan error, 16) // more than the resolver makes attempts
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, server)
		if err != nil {
			select {
			case dialErrors <- err:
			default:
			}
		}
		return c, err
	}}
	_, err := r.LookupHost(ctx, "rollcall.internal.")
	select {
	case err := <-dialErrors:
		return err
	default:
	}
	var answer *net.DNSError
	if errors.As(err, &answer) && !answer.IsTimeout && (answer.IsNotFound || answer.Err == "server misbehaving") {
		return nil
	}
	return err
}

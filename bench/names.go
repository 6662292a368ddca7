package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/dns/server"
)

// namesAt holds the addresses of the role.
type namesAt struct{ DNS, Echo, Control string }

// runNames runs a DNS server with a directory of a given size, without a store, and a bare UDP echo.
func runNames(ctx context.Context, args roleArgs, ready func(any)) error {
	dir := fullDirectory(args.Instances, args.Each)
	log := slog.New(slog.DiscardHandler)
	names := server.New(server.Config{Authority: &answer.Authority{Directory: dir}, Log: log})
	defer names.Shutdown()
	at, err := names.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	echo, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	defer echo.Close()
	go runEcho(echo)
	ctl, closeControl, err := control{}.serve()
	if err != nil {
		return err
	}
	defer closeControl()
	ready(namesAt{DNS: at.String(), Echo: echo.LocalAddr().String(), Control: ctl})
	<-ctx.Done()
	return nil
}

// runEcho returns every datagram: the least that a UDP server in Go can do.
func runEcho(c *net.UDPConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			c.WriteToUDPAddrPort(buf[:n], from)
		}
	}
}

// fullDirectory returns a directory with one namespace and the given number of instances, each per service.
func fullDirectory(instances, each int) *directory.Directory {
	d := directory.New()
	d.Apply(1, func(b *directory.Batch) {
		b.PutNamespace(directory.Namespace{ID: "ns", Region: region, Name: namespaceName, HTTPName: namespaceName,
			Kind: directory.Private, NegativeTTL: 5})
		for i := range instances {
			service := fmt.Sprint("srv-", i/each)
			if i%each == 0 {
				b.PutService(directory.Service{ID: service, NamespaceID: "ns", Name: serviceLabel(i / each),
					Records: []directory.Record{{Type: directory.A, TTL: 60}}})
			}
			b.PutInstance(&directory.Instance{ID: instanceID(i), ServiceID: service, IPv4: address(i)})
		}
	})
	return d
}

func serviceLabel(k int) string { return fmt.Sprint("service-", k) }

// serviceNames returns the DNS names of the services of fullDirectory, without a final dot.
func serviceNames(instances, each int) []string {
	names := make([]string, instances/each)
	for k := range names {
		names[k] = serviceLabel(k) + "." + namespaceName
	}
	return names
}

// questions returns a query for the A records of each name, with EDNS as sent by resolvers.
func questions(names []string) ([][]byte, error) {
	var all [][]byte
	for _, name := range names {
		m := new(dns.Msg)
		m.SetQuestion(dns.Fqdn(name), dns.TypeA)
		m.SetEdns0(1232, false)
		b, err := m.Pack()
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// addresses queries the A records of a name once.
func addresses(server, name string) ([]netip.Addr, error) {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), dns.TypeA)
	in, err := dns.Exchange(m, server)
	if err != nil {
		return nil, err
	}
	var found []netip.Addr
	for _, rr := range in.Answer {
		if a, ok := rr.(*dns.A); ok {
			addr, _ := netip.AddrFromSlice(a.A.To4())
			found = append(found, addr)
		}
	}
	return found, nil
}

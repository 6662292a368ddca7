// Package dnstest provides the notation of DNS tests: directories in lines that resemble a zone file, and scripts of
// queries with the expected replies. It also provides an upstream resolver for tests ([NewUpstream]).
//
// A directory ([Load]):
//
//	zone corp. private 10.0.0.0/8,127.0.0.0/8 negative 15
//	worker  A 60 AAAA 60
//	  i-1   10.0.0.7 2001:db8::7
//	  i-2   10.0.0.8 unhealthy
//	api     SRV 30 A 60 weighted
//	  i-1   10.0.0.9 :8080 draining
//	db      CNAME 60
//	  one   =db.example.net
//	many    A 60
//	  m-1..1000  10.1.0.1..
//
// A zone is private or public (the default). It answers the listed networks only, if any, and its negative answers have
// a TTL of 5 seconds unless the line specifies another one. The following lines are its services, where "." is the one
// at the apex. Indented lines are their instances: an id, followed by addresses, :port, =cname, and a state. m-1..1000
// means a thousand ids, and "10.1.0.1.." as many consecutive addresses.
//
// A script ([Run]) is a file of blocks. Each consists of a command, a line of four dashes, and the expected output.
// With the flag -update, the test replaces the expected output by the actual one.
package dnstest

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/internal/directory"
)

// Load returns a directory with the content of the text. If the text is invalid, it fails the test.
func Load(tb testing.TB, text string) *directory.Directory {
	tb.Helper()
	d := directory.New()
	if err := Add(d, text); err != nil {
		tb.Fatal(err)
	}
	return d
}

// Add applies the text to a directory as its next revision. It replaces existing services and instances, so a later
// text can change the state of an instance.
func Add(d *directory.Directory, text string) error {
	var err error
	d.Apply(d.Applied()+1, func(b *directory.Batch) { err = (&loader{b: b}).load(text) })
	return err
}

var types = map[string]directory.RecordType{
	"A": directory.A, "AAAA": directory.AAAA, "CNAME": directory.CNAME, "SRV": directory.SRV,
}

var states = map[string]directory.State{
	"healthy": directory.Healthy, "unhealthy": directory.Unhealthy,
	"unready": directory.Unready, "draining": directory.Draining,
}

type loader struct {
	b       *directory.Batch
	zones   int64
	zone    string // the id of the namespace of the next service
	service string // the id of the service of the next instance
}

func (l *loader) load(text string) error {
	for n, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		read := l.readService
		switch {
		case words[0] == "zone" && len(words) > 1:
			words, read = words[1:], l.readZone
		case strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t"):
			read = l.readInstance
		}
		if err := read(words[0], words[1:]); err != nil {
			return fmt.Errorf("line %d, %q: %w", n+1, line, err)
		}
	}
	return nil
}

func (l *loader) readZone(name string, words []string) error {
	l.zones++
	name = strings.TrimSuffix(name, ".")
	ns := directory.Namespace{Name: name, HTTPName: name, Kind: directory.Public, NegativeTTL: 5, Order: l.zones}
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case w == "private":
			ns.Kind = directory.Private
		case w == "public":
		case w == "negative" && i+1 < len(words):
			i++
			ttl, err := strconv.ParseUint(words[i], 10, 32)
			if err != nil {
				return err
			}
			ns.NegativeTTL = uint32(ttl)
		default:
			for _, text := range strings.Split(w, ",") {
				p, err := netip.ParsePrefix(text)
				if err != nil {
					return err
				}
				ns.Networks = append(ns.Networks, p)
			}
		}
	}
	ns.ID = fmt.Sprint("ns-", name, ns.Kind, ns.Networks)
	ns.Region = ns.ID // so that Discover distinguishes namespaces with the same name
	l.zone = ns.ID
	l.b.PutNamespace(ns)
	return nil
}

func (l *loader) readService(name string, words []string) error {
	s := directory.Service{ID: l.zone + "/" + name, NamespaceID: l.zone, Name: name}
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case w == "weighted":
			s.Policy = directory.Weighted
		case types[w] != 0 && i+1 < len(words):
			i++
			ttl, err := strconv.ParseUint(words[i], 10, 32)
			if err != nil {
				return err
			}
			s.Records = append(s.Records, directory.Record{Type: types[w], TTL: uint32(ttl)})
		default:
			return fmt.Errorf("unknown word %q", w)
		}
	}
	l.service = s.ID
	l.b.PutService(s)
	return nil
}

func (l *loader) readInstance(id string, words []string) error {
	template := directory.Instance{ServiceID: l.service}
	for _, w := range words {
		if err := setProperty(&template, w); err != nil {
			return err
		}
	}
	ids := []string{id}
	if head, last, many := strings.Cut(id, ".."); many && slices.ContainsFunc(words, isRange) {
		start := strings.TrimRight(head, "0123456789")
		from, err1 := strconv.Atoi(head[len(start):])
		to, err2 := strconv.Atoi(last)
		if err1 != nil || err2 != nil {
			return fmt.Errorf("%q must be a range of ids such as i-1..9", id)
		}
		ids = ids[:0]
		for n := from; n <= to; n++ {
			ids = append(ids, start+strconv.Itoa(n))
		}
	}
	for _, id := range ids {
		i := template
		i.ID = id
		l.b.PutInstance(&i)
		template.IPv4, template.IPv6 = next(template.IPv4), next(template.IPv6)
	}
	return nil
}

func isRange(word string) bool { return strings.HasSuffix(word, "..") }

func next(a netip.Addr) netip.Addr {
	if !a.IsValid() {
		return a
	}
	return a.Next()
}

// setProperty sets the field of an instance that a word describes.
func setProperty(i *directory.Instance, w string) error {
	if state, ok := states[w]; ok {
		i.State = state
		return nil
	}
	if target, ok := strings.CutPrefix(w, "="); ok {
		i.CNAME = target
		return nil
	}
	if port, ok := strings.CutPrefix(w, ":"); ok {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			i.Port = uint16(n)
			return nil
		}
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(w, ".."))
	if err != nil {
		return err
	}
	if a.Is4() {
		i.IPv4 = a
	} else {
		i.IPv6 = a
	}
	return nil
}

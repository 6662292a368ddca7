package answer_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/internal/directory"
	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/dns/dnstest"
)

// TestScripts answers the queries in the scripts of testdata. The commands are "zone …", which adds to the directory,
// and
//
//	query NAME TYPE [from CLIENT]
//
// Records are sorted, because their order is random. TestUniform covers the order.
func TestScripts(t *testing.T) {
	dnstest.Run(t, "testdata/*.txt", func(*testing.T) func(*testing.T, string) string {
		dir := directory.New()
		return func(t *testing.T, command string) string {
			t.Helper()
			if strings.HasPrefix(command, "zone ") {
				if err := dnstest.Add(dir, command); err != nil {
					t.Fatal(err)
				}
				return ""
			}
			q, question := parseQuery(t, command)
			var r answer.Reply
			(&answer.Authority{Directory: dir}).Answer(q, &r)
			return format(question, &r)
		}
	})
}

var typeNumbers = map[string]uint16{"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "HINFO": 13, "MX": 15, "TXT": 16,
	"AAAA": 28, "SRV": 33, "OPT": 41, "IXFR": 251, "AXFR": 252, "ANY": 255}

func parseQuery(t *testing.T, command string) (q answer.Query, question string) {
	t.Helper()
	words := strings.Fields(command)
	if len(words) < 3 || words[0] != "query" || typeNumbers[words[2]] == 0 {
		t.Fatalf("%q is not of the form: query NAME TYPE [from CLIENT]", command)
	}
	client := "127.0.0.1"
	if len(words) == 5 && words[3] == "from" {
		client = words[4]
	}
	return answer.Query{Name: directory.CanonicalName(words[1]), Type: typeNumbers[words[2]],
		Client: netip.MustParseAddr(client), Rand: 1}, words[1]
}

func format(question string, r *answer.Reply) string {
	if r.OutsideZones {
		return "outside our zones"
	}
	var b strings.Builder
	fmt.Fprintln(&b, map[answer.Rcode]string{0: "NOERROR", 3: "NXDOMAIN", 5: "REFUSED"}[r.Rcode])
	section := func(title string, records []answer.Record) {
		var lines []string
		for _, rr := range records {
			lines = append(lines, formatRecord(question, rr))
		}
		slices.Sort(lines)
		if len(lines) > 0 {
			fmt.Fprintf(&b, "%s:\n%s\n", title, strings.Join(lines, "\n"))
		}
	}
	section("answer", r.Answer)
	section("authority", r.Authority)
	section("additional", r.Additional)
	if r.ExternalTarget != "" {
		fmt.Fprintln(&b, "external target:", r.ExternalTarget)
	}
	return b.String()
}

func formatRecord(question string, rr answer.Record) string {
	head := fmt.Sprint(presentationName(question, rr.Owner), " ", rr.TTL, " ")
	target := presentationName(question, rr.Target)
	switch rr.Type {
	case 1:
		return head + "A " + rr.Addr.String()
	case 28:
		return head + "AAAA " + rr.Addr.String()
	case 5:
		return head + "CNAME " + target
	case 33:
		return head + fmt.Sprint("SRV ", answer.SRVPriority, " ", answer.SRVWeight, " ", rr.Port, " ", target)
	case 2:
		return head + "NS " + target
	case 6:
		return head + "SOA " + target
	case 13:
		return head + "HINFO " + answer.HINFOCPU
	}
	return head + fmt.Sprint("type ", rr.Type)
}

// presentationName returns a name of a reply in presentation form.
func presentationName(question string, n answer.Name) string {
	question = strings.TrimSuffix(question, ".")
	switch n.From {
	case answer.Question:
		return question + "."
	case answer.Below:
		return n.Text + "." + question + "."
	case answer.Above:
		labels := strings.Split(question, ".")
		return strings.Join(labels[len(labels)-strings.Count(n.Text, ".")-1:], ".") + "."
	}
	return n.Text + "."
}

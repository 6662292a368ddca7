package route53

import (
	"slices"
	"strings"
	"testing"
)

// TestNames formats names of the directory as Route 53 writes them, and parses them.
func TestNames(t *testing.T) {
	for _, tc := range []struct{ name, text string }{
		{"web.shop.local", "web.shop.local."},
		{"_http._tcp.shop.local", "_http._tcp.shop.local."},
		{"a/b:c@d.web.shop.local", `a\057b\072c\100d.web.shop.local.`},
		{"*.shop.local", `\052.shop.local.`},
	} {
		if got := formatName(tc.name); got != tc.text {
			t.Errorf("formatName(%q) = %q, want %q", tc.name, got, tc.text)
		}
		for _, text := range []string{tc.text, strings.TrimSuffix(tc.text, "."), strings.ToUpper(tc.text), tc.name} {
			if got, err := parseName(text); err != nil || got != tc.name {
				t.Errorf("parseName(%q) = %q, %v; want %q", text, got, err, tc.name)
			}
		}
	}
}

func TestParseName(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"", ""},
		{".", ""},
		{`a\056b.local`, `a\046b.local`}, // one label, as in answer.Query
		{`a\134b.local`, `a\092b.local`},
		{`\101bc`, "abc"},
		{`a\`, "invalid"},
		{`a\05`, "invalid"},
		{`a\089`, "invalid"},
		{`a\777`, "invalid"},
		{`a\+12`, "invalid"},
		{strings.Repeat("a", 1025), "invalid"},
	} {
		got, err := parseName(tc.text)
		if err != nil {
			got = "invalid"
		}
		if got != tc.want {
			t.Errorf("parseName(%.20q) = %q, want %q", tc.text, got, tc.want)
		}
	}
}

// TestSortKey checks the order in the documentation of ListResourceRecordSets and ListHostedZonesByName.
func TestSortKey(t *testing.T) {
	names := []string{
		"example.com", "a-b.example.com", "a.example.com", "x-y.a.example.com", "x.a.example.com", "www.example.com",
		"local", "example.net",
	}
	shuffled := slices.Clone(names)
	slices.Reverse(shuffled)
	slices.SortFunc(shuffled, func(x, y string) int { return strings.Compare(sortKey(x), sortKey(y)) })
	if !slices.Equal(shuffled, names) {
		t.Errorf("sorted: %q\nwant    %q", shuffled, names)
	}
}

// TestSegments covers base paths, trailing slashes, and ids with their type.
func TestSegments(t *testing.T) {
	for _, tc := range []struct{ path, want string }{
		{"/2013-04-01/hostedzone", "hostedzone"},
		{"/2013-04-01/hostedzone/Z1/rrset/", "hostedzone Z1 rrset"},
		{"/2013-04-01/hostedzone//hostedzone/Z1/rrset", "hostedzone Z1 rrset"},
		{"/2013-04-01/tags/hostedzone//hostedzone/Z1", "tags hostedzone Z1"},
		{"/base/path/2013-04-01/hostedzone/Z1", "hostedzone Z1"},
		{"/2012-12-12/hostedzone", ""},
		{"/", ""},
		{"", ""},
	} {
		if got := strings.Join(segments(tc.path), " "); got != tc.want {
			t.Errorf("segments(%q) = %q, want %q", tc.path, got, tc.want)
		}
	}
}

// TestRoutes checks that no two operations match the same request or have the same name.
func TestRoutes(t *testing.T) {
	names := map[string]bool{}
	for i := range routes {
		if names[routes[i].operation] {
			t.Errorf("%s appears twice", routes[i].operation)
		}
		names[routes[i].operation] = true
		first := strings.Replace(routes[i].path, "{}", "x", 1)
		path := segments("/" + version + "/" + strings.Replace(first, "{}", "y", 1))
		for k := range routes {
			if _, ok := routes[k].match(path); ok != (k == i) && routes[k].method == routes[i].method {
				t.Errorf("%s %s: %s matches: %t", routes[i].method, strings.Join(path, "/"), routes[k].operation, ok)
			}
		}
	}
}

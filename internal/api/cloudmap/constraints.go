package cloudmap

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bakingclouds/rollcall/internal/api/paging"
	"github.com/bakingclouds/rollcall/internal/arn"
)

// text is what the API's model asks of a string: its length in characters and its pattern. match is the
// pattern where RE2 cannot say it (look-ahead); pattern is then only what the message shows.
type text struct {
	min, max int
	pattern  string
	match    func(string) bool
}

// pattern makes a text that a regular expression describes.
func pattern(min, max int, expr string) text {
	return text{min, max, expr, regexp.MustCompile(expr).MatchString}
}

// The strings of the model (API Reference, "Data Types").
var (
	resourceID     = text{max: 64}
	idOrARN        = text{max: 255}
	vpcID          = text{max: 64}
	operationID    = text{max: 255}
	description    = text{max: 1024}
	resourcePath   = text{max: 255}
	filterValue    = text{min: 1, max: 255}
	tagKey         = text{min: 1, max: 128}
	tagValue       = text{max: 256}
	nextToken      = text{max: 4096}
	resourceName   = text{min: 1, max: 1011}
	accountID      = pattern(12, 12, `^[0-9]{12}$`)
	attributeKey   = text{max: 255}
	attributeValue = text{max: 1024}

	instanceID       = pattern(1, 64, `^[0-9a-zA-Z_/:.@-]+$`)
	instanceAttrKey  = pattern(1, 255, `^[a-zA-Z0-9!-~]+$`)
	instanceAttrText = pattern(0, 1024, `^([a-zA-Z0-9!-~][ \ta-zA-Z0-9!-~]*){0,1}[a-zA-Z0-9!-~]{0,1}$`)

	namespaceName        = text{1, 1024, `^[!-~]{1,1024}$`, visible}
	namespaceNameHTTP    = text{1, 1024, `^(?!arn:)[!-~]{1,1024}$`, notARN}
	namespaceNamePrivate = text{1, 253, `^(?!arn:)[!-~]{1,253}$`, notARN}
	namespaceNamePublic  = pattern(1, 253, `^([a-zA-Z0-9]([a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z0-9]([a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])?$`)
	serviceName          = text{1, 127, `^(` + serviceLabel + `(\.` + serviceLabel + `)*|\.)$`, isServiceName}
)

const serviceLabel = `([a-zA-Z0-9_][a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_]|[a-zA-Z0-9])`

// isServiceName and visible are their patterns, without a regular expression: every DiscoverInstances
// comes through here.
func isServiceName(s string) bool {
	if s == "." {
		return true
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) == 0 || len(label) > 63 || label == "_" {
			return false
		}
		for i := range len(label) {
			switch c := label[i]; {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
			case c == '-' && i > 0 && i < len(label)-1:
			default:
				return false
			}
		}
	}
	return true
}

// visible reports whether all of s is visible ASCII.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] < '!' || s[i] > '~' {
			return false
		}
	}
	return true
}

func notARN(s string) bool { return visible(s) && !arn.Is(s) }

// constraints collects what members break, so that one error names all of it, in AWS's words. A member's
// path is written as AWS writes it: lower case first, elements of lists counted from 1.
type constraints struct {
	broken []string
	more   int // beyond what the message shows
}

// maxBroken and maxShown bound the message.
const (
	maxBroken = 50
	maxShown  = 256 // characters of a value
)

func (c *constraints) add(value any, path, rule string) {
	if len(c.broken) == maxBroken {
		c.more++
		return
	}
	shown := "null"
	if value != nil {
		s := fmt.Sprint(value)
		if len(s) > maxShown {
			s = strings.ToValidUTF8(s[:maxShown], "") + "..."
		}
		shown = "'" + s + "'"
	}
	c.broken = append(c.broken, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: %s", shown, path, rule))
}

// err is the InvalidInput for all that was broken, nil when nothing was.
func (c *constraints) err() error {
	n := len(c.broken) + c.more
	if n == 0 {
		return nil
	}
	errors := "errors"
	if n == 1 {
		errors = "error"
	}
	return invalid("%d validation %s detected: %s", n, errors, strings.Join(c.broken, "; "))
}

// required wants a member to be there; v is its value when it is.
func (c *constraints) required(there bool, path string) bool {
	if !there {
		c.add(nil, path, "Member must not be null")
	}
	return there
}

// broken rules of a string, in the model's words.
func (t text) broken(s string) (rules []string) {
	n := utf8.RuneCountInString(s)
	if t.max > 0 && n > t.max {
		rules = append(rules, fmt.Sprintf("Member must have length less than or equal to %d", t.max))
	}
	if n < t.min {
		rules = append(rules, fmt.Sprintf("Member must have length greater than or equal to %d", t.min))
	}
	if t.match != nil && !t.match(s) {
		rules = append(rules, "Member must satisfy regular expression pattern: "+t.pattern)
	}
	return rules
}

// text checks a member that may be absent.
func (c *constraints) text(v *string, path string, t text) {
	if v == nil {
		return
	}
	for _, rule := range t.broken(*v) {
		c.add(*v, path, rule)
	}
}

// name checks a member that must be there.
func (c *constraints) name(v *string, path string, t text) {
	if c.required(v != nil, path) {
		c.text(v, path, t)
	}
}

// identifier checks a required id or ARN; only what begins like an ARN has to be one.
func (c *constraints) identifier(v *string, path string) {
	c.name(v, path, idOrARN)
	if v != nil && arn.Is(*v) {
		if _, err := arn.Parse(*v); err != nil {
			c.add(*v, path, "Member must be an id or an ARN: "+err.Error())
		}
	}
}

// number checks the range of a member that may be absent.
func number[T int32 | int64](c *constraints, v *T, path string, min, max T) {
	switch {
	case v == nil:
	case *v < min:
		c.add(*v, path, fmt.Sprintf("Member must have value greater than or equal to %d", min))
	case *v > max:
		c.add(*v, path, fmt.Sprintf("Member must have value less than or equal to %d", max))
	}
}

// enum checks a member of an enumeration that may be absent.
func enum[T ~string](c *constraints, v T, path string, values []T) {
	if v != "" && !slices.Contains(values, v) {
		names := make([]string, len(values))
		for i, s := range values {
			names[i] = string(s)
		}
		c.add(v, path, "Member must satisfy enum value set: ["+strings.Join(names, ", ")+"]")
	}
}

// choice checks a member of an enumeration that must be there.
func choice[T ~string](c *constraints, v T, path string, values []T) {
	if c.required(v != "", path) {
		enum(c, v, path, values)
	}
}

// attributes checks the keys and values of a map.
func (c *constraints) attributes(m map[string]string, path string, key, value text) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		for _, rule := range key.broken(k) {
			c.add(k, path, "Map keys must satisfy constraint: ["+rule+"]")
		}
		for _, rule := range value.broken(m[k]) {
			c.add(m[k], path+"."+k, "Map value must satisfy constraint: ["+rule+"]")
		}
	}
}

// entries checks how many elements a list or map has.
func (c *constraints) entries(n int, path string, min, max int) {
	switch {
	case n < min:
		c.add(fmt.Sprintf("%d elements", n), path, fmt.Sprintf("Member must have length greater than or equal to %d", min))
	case n > max:
		c.add(fmt.Sprintf("%d elements", n), path, fmt.Sprintf("Member must have length less than or equal to %d", max))
	}
}

// maxPage is the default and the greatest number of items of a page.
const maxPage = 100

// page checks the members by which lists are paged, and gives the size of the page and the key that it
// begins behind.
func (c *constraints) page(operation string, size *int32, token *string) (max int, after string) {
	number(c, size, "maxResults", 1, maxPage)
	c.text(token, "nextToken", nextToken)
	max = maxPage
	if size != nil {
		max = int(*size)
	}
	if token != nil {
		var ok bool
		if after, ok = paging.After(operation, *token); !ok {
			c.add(*token, "nextToken", "Member must be a token that "+operation+" has returned")
		}
	}
	return max, after
}

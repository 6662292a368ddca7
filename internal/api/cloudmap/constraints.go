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

// rule is the API model's constraint on a string: its length in characters and its pattern. match implements the
// pattern, because RE2 does not support look-ahead. pattern appears in the error message.
type rule struct {
	min, max int
	pattern  string
	match    func(string) bool
}

// patternRule returns a rule that a regular expression implements.
func patternRule(min, max int, expr string) rule {
	return rule{min, max, expr, regexp.MustCompile(expr).MatchString}
}

// The rules of the model (API Reference, "Data Types").
var (
	resourceID     = rule{max: 64}
	idOrARN        = rule{max: 255}
	vpcID          = rule{max: 64}
	operationID    = rule{max: 255}
	description    = rule{max: 1024}
	resourcePath   = rule{max: 255}
	filterValue    = rule{min: 1, max: 255}
	tagKey         = rule{min: 1, max: 128}
	tagValue       = rule{max: 256}
	nextToken      = rule{max: 4096}
	resourceName   = rule{min: 1, max: 1011}
	accountID      = patternRule(12, 12, `^[0-9]{12}$`)
	attributeKey   = rule{max: 255}
	attributeValue = rule{max: 1024}

	instanceID       = patternRule(1, 64, `^[0-9a-zA-Z_/:.@-]+$`)
	instanceAttrKey  = patternRule(1, 255, `^[a-zA-Z0-9!-~]+$`)
	instanceAttrText = patternRule(0, 1024, `^([a-zA-Z0-9!-~][ \ta-zA-Z0-9!-~]*){0,1}[a-zA-Z0-9!-~]{0,1}$`)

	namespaceName        = rule{1, 1024, `^[!-~]{1,1024}$`, visible}
	namespaceNameHTTP    = rule{1, 1024, `^(?!arn:)[!-~]{1,1024}$`, notARN}
	namespaceNamePrivate = rule{1, 253, `^(?!arn:)[!-~]{1,253}$`, notARN}
	namespaceNamePublic  = patternRule(1, 253,
		`^([a-zA-Z0-9]([a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z0-9]([a-zA-Z0-9\-]{0,61}[a-zA-Z0-9])?$`)
	serviceName = rule{1, 127, `^(` + serviceLabel + `(\.` + serviceLabel + `)*|\.)$`, isServiceName}
)

const serviceLabel = `([a-zA-Z0-9_][a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_]|[a-zA-Z0-9])`

// isServiceName implements its pattern without a regular expression, as visible does, because every DiscoverInstances
// calls them.
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

// visible reports whether s consists of visible ASCII characters.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] < '!' || s[i] > '~' {
			return false
		}
	}
	return true
}

func notARN(s string) bool { return visible(s) && !arn.Is(s) }

// constraints collects the broken constraints of a request, so that one error lists them all, in AWS's words. A
// member's path has AWS's form: it begins in lower case, and list elements count from 1.
type constraints struct {
	broken []string
	more   int // number of broken constraints that the message omits
}

// The bounds of the message.
const (
	maxBroken = 50
	maxShown  = 256 // bytes of a value
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

// err returns the InvalidInput that lists all broken constraints, or nil if there are none.
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

// required checks that a member is present, and returns present.
func (c *constraints) required(present bool, path string) bool {
	if !present {
		c.add(nil, path, "Member must not be null")
	}
	return present
}

// broken returns the constraints that s breaks, in the model's words.
func (r rule) broken(s string) (broken []string) {
	n := utf8.RuneCountInString(s)
	if r.max > 0 && n > r.max {
		broken = append(broken, fmt.Sprintf("Member must have length less than or equal to %d", r.max))
	}
	if n < r.min {
		broken = append(broken, fmt.Sprintf("Member must have length greater than or equal to %d", r.min))
	}
	if r.match != nil && !r.match(s) {
		broken = append(broken, "Member must satisfy regular expression pattern: "+r.pattern)
	}
	return broken
}

// optionalText checks a string that may be absent.
func (c *constraints) optionalText(v *string, path string, r rule) {
	if v == nil {
		return
	}
	for _, broken := range r.broken(*v) {
		c.add(*v, path, broken)
	}
}

// requiredText checks a string that must be present.
func (c *constraints) requiredText(v *string, path string, r rule) {
	if c.required(v != nil, path) {
		c.optionalText(v, path, r)
	}
}

// identifier checks a required id or ARN. Only a value that begins like an ARN must be a valid ARN.
func (c *constraints) identifier(v *string, path string) {
	c.requiredText(v, path, idOrARN)
	if v != nil && arn.Is(*v) {
		if _, err := arn.Parse(*v); err != nil {
			c.add(*v, path, "Member must be an id or an ARN: "+err.Error())
		}
	}
}

// optionalNumber checks the range of a number that may be absent.
func optionalNumber[T int32 | int64](c *constraints, v *T, path string, min, max T) {
	switch {
	case v == nil:
	case *v < min:
		c.add(*v, path, fmt.Sprintf("Member must have value greater than or equal to %d", min))
	case *v > max:
		c.add(*v, path, fmt.Sprintf("Member must have value less than or equal to %d", max))
	}
}

// optionalEnum checks a member of an enumeration that may be absent.
func optionalEnum[T ~string](c *constraints, v T, path string, values []T) {
	if v != "" && !slices.Contains(values, v) {
		names := make([]string, len(values))
		for i, s := range values {
			names[i] = string(s)
		}
		c.add(v, path, "Member must satisfy enum value set: ["+strings.Join(names, ", ")+"]")
	}
}

// requiredEnum checks a member of an enumeration that must be present.
func requiredEnum[T ~string](c *constraints, v T, path string, values []T) {
	if c.required(v != "", path) {
		optionalEnum(c, v, path, values)
	}
}

// attributes checks the keys and values of a map.
func (c *constraints) attributes(m map[string]string, path string, key, value rule) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		for _, broken := range key.broken(k) {
			c.add(k, path, "Map keys must satisfy constraint: ["+broken+"]")
		}
		for _, broken := range value.broken(m[k]) {
			c.add(m[k], path+"."+k, "Map value must satisfy constraint: ["+broken+"]")
		}
	}
}

// entries checks the number of elements of a list or map.
func (c *constraints) entries(n int, path string, min, max int) {
	switch {
	case n < min:
		c.add(fmt.Sprintf("%d elements", n), path, fmt.Sprintf("Member must have length greater than or equal to %d",
			min))
	case n > max:
		c.add(fmt.Sprintf("%d elements", n), path, fmt.Sprintf("Member must have length less than or equal to %d", max))
	}
}

// maxPage is the default and the largest number of items on a page.
const maxPage = 100

// page checks the paging members of a request. It returns the size of the page and the key of the last item before it.
func (c *constraints) page(operation string, size *int32, token *string) (max int, after string) {
	optionalNumber(c, size, "maxResults", 1, maxPage)
	c.optionalText(token, "nextToken", nextToken)
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

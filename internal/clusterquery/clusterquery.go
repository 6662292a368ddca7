// Package clusterquery is the cluster query language of Amazon ECS: the expressions of memberOf placement constraints and
// of ListContainerInstances' filter (ECS Developer Guide, "Cluster query language").
//
// [Parse] reads an expression, parse.go has the grammar; [Expression.Match] says whether a container instance
// satisfies it. Both are pure, and no expression takes more than a moment: it has at most [MaxLength] characters, and
// regular expressions run in linear time.
//
// query knows expressions and the few facts of an instance that they ask about. It does not know rows, nodes or tasks.
package clusterquery

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxLength is how many characters an expression may have (PlacementConstraint, Amazon ECS API Reference).
const MaxLength = 2000

// Instance is what expressions ask about.
type Instance struct {
	Attributes     map[string]string // "" for those that have a name alone
	EC2InstanceID  string
	AgentConnected bool
	AgentVersion   string
	RegisteredAt   time.Time
	RunningTasks   int
	Groups         []string // of the tasks that it runs
}

// Expression is a parsed expression.
type Expression struct{ root node }

// Match reports whether an instance satisfies the expression.
func (e *Expression) Match(in Instance) bool { return e.root.match(&in) }

// node is a part of an expression.
type node interface{ match(*Instance) bool }

type (
	not struct{ of node }
	and struct{ left, right node }
	or  struct{ left, right node }
)

func (n not) match(in *Instance) bool { return !n.of.match(in) }
func (n and) match(in *Instance) bool { return n.left.match(in) && n.right.match(in) }
func (n or) match(in *Instance) bool  { return n.left.match(in) || n.right.match(in) }

// operator of a simple expression. The negated ones are an operator's complement, so that an attribute that is not
// there makes them true.
type operator struct {
	test    test
	negated bool
}

type test int

const (
	equals test = iota
	greater
	greaterOrEqual
	less
	lessOrEqual
	exists
	isIn
	matches
)

// operators by their words and symbols.
var operators = map[string]operator{
	"==": {equals, false}, "equals": {equals, false},
	"!=": {equals, true}, "not_equals": {equals, true},
	">": {greater, false}, "greater_than": {greater, false},
	">=": {greaterOrEqual, false}, "greater_than_equal": {greaterOrEqual, false},
	"<": {less, false}, "less_than": {less, false},
	"<=": {lessOrEqual, false}, "less_than_equal": {lessOrEqual, false},
	"exists": {exists, false}, "!exists": {exists, true}, "not_exists": {exists, true},
	"in": {isIn, false}, "!in": {isIn, true}, "not_in": {isIn, true},
	"=~": {matches, false}, "matches": {matches, false},
	"!~": {matches, true}, "not_matches": {matches, true},
}

// ordered are the operators that ask which of two is larger.
func (t test) ordered() bool { return t >= greater && t <= lessOrEqual }

// holds applies an ordered operator, or equals, to the outcome of a comparison.
func (t test) holds(c int) bool {
	switch t {
	case greater:
		return c > 0
	case greaterOrEqual:
		return c >= 0
	case less:
		return c < 0
	case lessOrEqual:
		return c <= 0
	}
	return c == 0
}

// kind says how values of a subject are compared.
type kind int

const (
	text kind = iota
	boolean
	number
	version
	moment
)

// subject is what a simple expression asks about.
type subject struct {
	kind kind
	// values of the instance; none when it has no such thing.
	values func(*Instance) []string
	// allowed says which operators the subject takes; nil allows all.
	allowed func(test) bool
}

// The operators of the subjects other than attributes (ECS Developer Guide, "Subjects").
func asText(t test) bool     { return t == equals || t == isIn || t == matches }
func asQuantity(t test) bool { return t == equals || t.ordered() }

// subjects by their names, but for attributes.
var subjects = map[string]subject{
	"ec2InstanceId":     {text, func(in *Instance) []string { return []string{in.EC2InstanceID} }, asText},
	"agentConnected":    {boolean, func(in *Instance) []string { return []string{strconv.FormatBool(in.AgentConnected)} }, asText},
	"agentVersion":      {version, func(in *Instance) []string { return []string{in.AgentVersion} }, asQuantity},
	"registeredAt":      {moment, func(in *Instance) []string { return []string{in.RegisteredAt.UTC().Format(time.RFC3339)} }, asQuantity},
	"runningTasksCount": {number, func(in *Instance) []string { return []string{strconv.Itoa(in.RunningTasks)} }, asQuantity},
	"task:group":        {text, func(in *Instance) []string { return in.Groups }, asText},
}

// attribute is the subject of an attribute.
func attribute(name string) subject {
	return subject{kind: text, values: func(in *Instance) []string {
		if v, ok := in.Attributes[name]; ok {
			return []string{v}
		}
		return nil
	}}
}

// simple is one test of one subject.
type simple struct {
	subject subject
	op      operator
	args    []string
	pattern *regexp.Regexp // of matches
}

// match holds when the test holds for any of the subject's values: an instance runs tasks of several groups.
func (s simple) match(in *Instance) bool {
	return slices.ContainsFunc(s.subject.values(in), s.holds) != s.op.negated
}

func (s simple) holds(value string) bool {
	switch s.op.test {
	case exists:
		return true
	case matches:
		return s.pattern.MatchString(value)
	}
	return slices.ContainsFunc(s.args, func(arg string) bool {
		return s.op.test.holds(compare(s.subject.kind, s.op.test, value, arg))
	})
}

// compare orders two values of a kind; what Parse took can be compared.
func compare(k kind, t test, a, b string) int {
	switch k {
	case number:
		return compareNumbers(a, b)
	case version:
		return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), compareNumbers)
	case moment:
		at, _ := parseMoment(a)
		bt, _ := parseMoment(b)
		return at.Compare(bt)
	case text:
		if t.ordered() {
			return compareNumbers(a, b)
		}
	}
	return cmp.Compare(a, b)
}

// compareNumbers compares as numbers if both are, as text otherwise.
func compareNumbers(a, b string) int {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	if errX == nil && errY == nil {
		return cmp.Compare(x, y)
	}
	return cmp.Compare(a, b)
}

// parseMoment reads the forms that the guide shows: with a zone or without one, which is UTC, or a date alone.
func parseMoment(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// Package clusterquery implements the cluster query language of Amazon ECS: the expressions in memberOf placement
// constraints and in the filter of ListContainerInstances (ECS Developer Guide, "Cluster query language").
//
// [Parse] parses an expression; its grammar is in parse.go. [Expression.Match] reports whether a container instance
// satisfies it. Both are pure and fast for any input: an expression has at most [MaxLength] characters, and regular
// expressions run in linear time.
//
// clusterquery knows expressions and the properties of an instance that they test. It does not know rows, nodes or
// tasks.
package clusterquery

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxLength is the maximum length of an expression in characters (Amazon ECS API Reference, PlacementConstraint).
const MaxLength = 2000

// Instance is a container instance as expressions see it.
type Instance struct {
	Attributes     map[string]string // an attribute without a value has the value ""
	EC2InstanceID  string
	AgentConnected bool
	AgentVersion   string
	RegisteredAt   time.Time
	RunningTasks   int
	Groups         []string // the groups of its tasks
}

// Expression is a parsed expression.
type Expression struct{ root node }

// Match reports whether an instance satisfies the expression.
func (e *Expression) Match(in Instance) bool { return e.root.match(&in) }

// node is a node of the syntax tree.
type node interface{ match(*Instance) bool }

type (
	not struct{ operand node }
	and struct{ left, right node }
	or  struct{ left, right node }
)

func (n not) match(in *Instance) bool { return !n.operand.match(in) }
func (n and) match(in *Instance) bool { return n.left.match(in) && n.right.match(in) }
func (n or) match(in *Instance) bool  { return n.left.match(in) || n.right.match(in) }

// operator is the operator of a simple expression. A negated operator is the complement of its test, so it is true for
// an attribute that the instance does not have.
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

// operators maps the words and symbols of the language to operators.
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

// ordered reports whether the test needs to know which of two values is greater.
func (t test) ordered() bool { return t >= greater && t <= lessOrEqual }

// holds applies an ordered test, or equals, to the result of a comparison.
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

// valueType determines how two values of a subject are compared.
type valueType int

const (
	text valueType = iota
	boolean
	number
	version
	timestamp
)

// subject is the property of an instance that a simple expression tests.
type subject struct {
	valueType valueType
	// values returns the instance's values, none if it does not have the property.
	values func(*Instance) []string
	// supports reports whether the subject supports an operator's test; nil means that it supports all.
	supports func(test) bool
}

// The operators of the subjects other than attributes (ECS Developer Guide, "Subjects").
func textTests(t test) bool     { return t == equals || t == isIn || t == matches }
func quantityTests(t test) bool { return t == equals || t.ordered() }

// subjects are the subjects other than attributes, by name.
var subjects = map[string]subject{
	"ec2InstanceId": {text, func(in *Instance) []string {
		return []string{in.EC2InstanceID}
	}, textTests},
	"agentConnected": {boolean, func(in *Instance) []string {
		return []string{strconv.FormatBool(in.AgentConnected)}
	}, textTests},
	"agentVersion": {version, func(in *Instance) []string {
		return []string{in.AgentVersion}
	}, quantityTests},
	"registeredAt": {timestamp, func(in *Instance) []string {
		return []string{in.RegisteredAt.UTC().Format(time.RFC3339)}
	}, quantityTests},
	"runningTasksCount": {number, func(in *Instance) []string {
		return []string{strconv.Itoa(in.RunningTasks)}
	}, quantityTests},
	"task:group": {text, func(in *Instance) []string { return in.Groups }, textTests},
}

// attribute returns the subject for an attribute.
func attribute(name string) subject {
	return subject{valueType: text, values: func(in *Instance) []string {
		if v, ok := in.Attributes[name]; ok {
			return []string{v}
		}
		return nil
	}}
}

// simple is a simple expression: one test of one subject.
type simple struct {
	subject subject
	op      operator
	args    []string
	pattern *regexp.Regexp // the argument of matches
}

// match reports whether the test holds for any of the subject's values; an instance can run tasks of several groups.
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
		return s.op.test.holds(compare(s.subject.valueType, s.op.test, value, arg))
	})
}

// compare compares two values of a type. Parse has rejected arguments that cannot be compared.
func compare(vt valueType, t test, a, b string) int {
	switch vt {
	case number:
		return compareNumbers(a, b)
	case version:
		return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), compareNumbers)
	case timestamp:
		at, _ := parseTime(a)
		bt, _ := parseTime(b)
		return at.Compare(bt)
	case text:
		if t.ordered() {
			return compareNumbers(a, b)
		}
	}
	return cmp.Compare(a, b)
}

// compareNumbers compares two values as numbers if both are numbers, otherwise as text.
func compareNumbers(a, b string) int {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	if errX == nil && errY == nil {
		return cmp.Compare(x, y)
	}
	return cmp.Compare(a, b)
}

// parseTime parses the forms that the guide shows: a time with a zone, a time without one, which is UTC, or a date.
func parseTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

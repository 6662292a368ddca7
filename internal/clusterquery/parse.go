package clusterquery

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Parse reads an expression. The error says what is wrong, in a sentence for the client.
//
//	expression = term { ("or" | "||") term }
//	term       = factor { ("and" | "&&") factor }
//	factor     = ("not" | "!") factor | "(" expression ")" | simple
//	simple     = subject operator [argument]
//	argument   = value | "[" value { "," value } "]"      a list for in and !in, none for exists
//	value      = bare | "'" text "'"
//
// A bare value ends at a space, or at a parenthesis, bracket or comma that the expression around it needs: that of a
// regular expression may have parentheses and brackets of its own.
func Parse(s string) (*Expression, error) {
	if n := utf8.RuneCountInString(s); n > MaxLength {
		return nil, fmt.Errorf("the expression has %d characters, at most %d are allowed", n, MaxLength)
	}
	p := &parser{rest: s}
	root, err := p.expression()
	if err != nil {
		return nil, err
	}
	if p.space(); p.rest != "" {
		return nil, fmt.Errorf("unexpected %q", p.ahead())
	}
	return &Expression{root}, nil
}

// parser reads from the front of what is left. Nesting is bounded by the length of an expression.
type parser struct{ rest string }

const blanks = " \t\r\n"

func (p *parser) space() { p.rest = strings.TrimLeft(p.rest, blanks) }

// ahead is what an error shows of the rest.
func (p *parser) ahead() string {
	words := strings.Fields(p.rest)
	if len(words) == 0 {
		return "the end"
	}
	return words[0]
}

// symbol takes a symbol if it is next.
func (p *parser) symbol(s string) bool {
	p.space()
	rest, ok := strings.CutPrefix(p.rest, s)
	if ok {
		p.rest = rest
	}
	return ok
}

// word takes a keyword if it is next and ends there.
func (p *parser) word(s string) bool {
	p.space()
	rest, ok := strings.CutPrefix(p.rest, s)
	if !ok || rest != "" && isName(rune(rest[0])) {
		return false
	}
	p.rest = rest
	return true
}

func (p *parser) expression() (node, error) {
	left, err := p.term()
	for err == nil && (p.symbol("||") || p.word("or")) {
		var right node
		right, err = p.term()
		left = or{left, right}
	}
	return left, err
}

func (p *parser) term() (node, error) {
	left, err := p.factor()
	for err == nil && (p.symbol("&&") || p.word("and")) {
		var right node
		right, err = p.factor()
		left = and{left, right}
	}
	return left, err
}

func (p *parser) factor() (node, error) {
	switch {
	case p.symbol("!"), p.word("not"):
		of, err := p.factor()
		return not{of}, err
	case p.symbol("("):
		inner, err := p.expression()
		if err != nil {
			return nil, err
		}
		if !p.symbol(")") {
			return nil, fmt.Errorf("expected ')' before %q", p.ahead())
		}
		return inner, nil
	}
	return p.simple()
}

// isName says which characters names of subjects and attributes have (Attribute, Amazon ECS API Reference).
func isName(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(`_-./\:`, r)
}

func (p *parser) name() string {
	p.space()
	n := strings.IndexFunc(p.rest, func(r rune) bool { return !isName(r) })
	if n < 0 {
		n = len(p.rest)
	}
	name := p.rest[:n]
	p.rest = p.rest[n:]
	return name
}

func (p *parser) simple() (node, error) {
	before := p.ahead()
	name := p.name()
	s := simple{}
	if attr, ok := strings.CutPrefix(name, "attribute:"); ok && attr != "" {
		s.subject = attribute(attr)
	} else if s.subject, ok = subjects[name]; !ok {
		return nil, fmt.Errorf("unknown subject %q: it should be attribute:NAME or one of [ec2InstanceId, agentConnected, agentVersion, registeredAt, runningTasksCount, task:group]", before)
	}
	op, err := p.operator(name)
	if err != nil {
		return nil, err
	}
	s.op = op
	if s.subject.allowed != nil && !s.subject.allowed(op.test) {
		return nil, fmt.Errorf("%s does not take this operator", name)
	}
	if op.test == exists {
		return s, nil
	}
	if s.args, err = p.arguments(op.test == isIn); err != nil {
		return nil, err
	}
	for _, arg := range s.args {
		if err := checkArgument(s.subject.kind, name, arg); err != nil && op.test != matches {
			return nil, err
		}
	}
	if op.test == matches {
		if s.pattern, err = regexp.Compile(`^(?:` + s.args[0] + `)$`); err != nil {
			return nil, fmt.Errorf("%q is no regular expression: %v", s.args[0], err)
		}
	}
	return s, nil
}

// symbols are the operators that are no words, the longer ones first.
var symbols = []string{"==", "!=", ">=", "<=", "=~", "!~", ">", "<"}

func (p *parser) operator(subject string) (operator, error) {
	for _, s := range symbols {
		if p.symbol(s) {
			return operators[s], nil
		}
	}
	before, bang := p.ahead(), ""
	if p.symbol("!") {
		bang = "!"
	}
	op, ok := operators[bang+p.name()]
	if !ok {
		return operator{}, fmt.Errorf("expected an operator after %s, found %q", subject, before)
	}
	return op, nil
}

func (p *parser) arguments(list bool) ([]string, error) {
	if !list {
		arg, err := p.value("")
		return []string{arg}, err
	}
	if !p.symbol("[") {
		return nil, fmt.Errorf("expected a list in brackets before %q", p.ahead())
	}
	var args []string
	for {
		arg, err := p.value(",]")
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
		switch {
		case p.symbol(","):
		case p.symbol("]"):
			return args, nil
		default:
			return nil, fmt.Errorf("expected ',' or ']' before %q", p.ahead())
		}
	}
}

// value takes a quoted value, or a bare one up to a space, a character of ends, or a bracket that it has not opened.
func (p *parser) value(ends string) (string, error) {
	p.space()
	if rest, ok := strings.CutPrefix(p.rest, "'"); ok {
		value, rest, ok := strings.Cut(rest, "'")
		if !ok {
			return "", fmt.Errorf("the quoted value %q does not end", value)
		}
		p.rest = rest
		return value, nil
	}
	open := 0
	n := strings.IndexFunc(p.rest, func(r rune) bool {
		switch {
		case strings.ContainsRune(blanks, r), open == 0 && strings.ContainsRune(ends, r):
			return true
		case r == '(' || r == '[':
			open++
		case r == ')' || r == ']':
			open--
		}
		return open < 0
	})
	if n < 0 {
		n = len(p.rest)
	}
	if n == 0 {
		return "", fmt.Errorf("expected a value before %q", p.ahead())
	}
	value := p.rest[:n]
	p.rest = p.rest[n:]
	return value, nil
}

// checkArgument refuses values that the subject's cannot be compared with.
func checkArgument(k kind, subject, arg string) error {
	switch k {
	case boolean:
		if arg != "true" && arg != "false" {
			return fmt.Errorf("%s is true or false, not %q", subject, arg)
		}
	case number:
		if _, err := strconv.ParseInt(arg, 10, 32); err != nil {
			return fmt.Errorf("%s is a whole number, not %q", subject, arg)
		}
	case version:
		for part := range strings.SplitSeq(arg, ".") {
			if _, err := strconv.ParseUint(part, 10, 32); err != nil {
				return fmt.Errorf("%s is a version such as 1.94.0, not %q", subject, arg)
			}
		}
	case moment:
		if _, ok := parseMoment(arg); !ok {
			return fmt.Errorf("%s is a date or a time such as 2018-06-18T22:28:28+00:00, not %q", subject, arg)
		}
	}
	return nil
}

package clusterquery

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Parse parses an expression. The text of an error is for the client.
//
//	expression = term { ("or" | "||") term }
//	term       = factor { ("and" | "&&") factor }
//	factor     = ("not" | "!") factor | "(" expression ")" | simple
//	simple     = subject operator [argument]
//	argument   = value | "[" value { "," value } "]"      a list for in and !in, none for exists
//	value      = bare | "'" text "'"
//
// A bare value ends at a space, or at a parenthesis, bracket or comma that belongs to the surrounding expression. It
// may be a regular expression, which has parentheses and brackets too.
func Parse(s string) (*Expression, error) {
	if n := utf8.RuneCountInString(s); n > MaxLength {
		return nil, fmt.Errorf("the expression has %d characters, at most %d are allowed", n, MaxLength)
	}
	p := &parser{rest: s}
	root, err := p.parseExpression()
	if err != nil {
		return nil, err
	}
	if p.skipSpace(); p.rest != "" {
		return nil, fmt.Errorf("unexpected %q", p.nextWord())
	}
	return &Expression{root}, nil
}

// parser is a recursive descent parser. MaxLength limits its recursion.
type parser struct{ rest string }

const blanks = " \t\r\n"

func (p *parser) skipSpace() { p.rest = strings.TrimLeft(p.rest, blanks) }

// nextWord returns the next word for an error message.
func (p *parser) nextWord() string {
	words := strings.Fields(p.rest)
	if len(words) == 0 {
		return "the end"
	}
	return words[0]
}

// acceptSymbol consumes a symbol if it is next, and reports whether it was.
func (p *parser) acceptSymbol(s string) bool {
	p.skipSpace()
	rest, ok := strings.CutPrefix(p.rest, s)
	if ok {
		p.rest = rest
	}
	return ok
}

// acceptKeyword consumes a keyword if it is the next name, and reports whether it was.
func (p *parser) acceptKeyword(s string) bool {
	p.skipSpace()
	rest, ok := strings.CutPrefix(p.rest, s)
	if !ok || rest != "" && isNameChar(rune(rest[0])) {
		return false
	}
	p.rest = rest
	return true
}

func (p *parser) parseExpression() (node, error) {
	left, err := p.parseTerm()
	for err == nil && (p.acceptSymbol("||") || p.acceptKeyword("or")) {
		var right node
		right, err = p.parseTerm()
		left = or{left, right}
	}
	return left, err
}

func (p *parser) parseTerm() (node, error) {
	left, err := p.parseFactor()
	for err == nil && (p.acceptSymbol("&&") || p.acceptKeyword("and")) {
		var right node
		right, err = p.parseFactor()
		left = and{left, right}
	}
	return left, err
}

func (p *parser) parseFactor() (node, error) {
	switch {
	case p.acceptSymbol("!"), p.acceptKeyword("not"):
		operand, err := p.parseFactor()
		return not{operand}, err
	case p.acceptSymbol("("):
		inner, err := p.parseExpression()
		if err != nil {
			return nil, err
		}
		if !p.acceptSymbol(")") {
			return nil, fmt.Errorf("expected ')' before %q", p.nextWord())
		}
		return inner, nil
	}
	return p.parseSimple()
}

// isNameChar reports whether the names of subjects and attributes may contain a character (Amazon ECS API Reference,
// Attribute).
func isNameChar(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(`_-./\:`, r)
}

// parseName consumes and returns the next name, which may be empty.
func (p *parser) parseName() string {
	p.skipSpace()
	n := strings.IndexFunc(p.rest, func(r rune) bool { return !isNameChar(r) })
	if n < 0 {
		n = len(p.rest)
	}
	name := p.rest[:n]
	p.rest = p.rest[n:]
	return name
}

func (p *parser) parseSimple() (node, error) {
	word := p.nextWord()
	name := p.parseName()
	s := simple{}
	if attr, ok := strings.CutPrefix(name, "attribute:"); ok && attr != "" {
		s.subject = attribute(attr)
	} else if s.subject, ok = subjects[name]; !ok {
		return nil, fmt.Errorf("unknown subject %q: it should be attribute:NAME or one of [ec2InstanceId, "+
			"agentConnected, agentVersion, registeredAt, runningTasksCount, task:group]", word)
	}
	op, err := p.parseOperator(name)
	if err != nil {
		return nil, err
	}
	s.op = op
	if s.subject.supports != nil && !s.subject.supports(op.test) {
		return nil, fmt.Errorf("%s does not support this operator", name)
	}
	if op.test == exists {
		return s, nil
	}
	if s.args, err = p.parseArguments(op.test == isIn); err != nil {
		return nil, err
	}
	if op.test == matches {
		if s.pattern, err = regexp.Compile(`^(?:` + s.args[0] + `)$`); err != nil {
			return nil, fmt.Errorf("invalid regular expression %q: %v", s.args[0], err)
		}
		return s, nil
	}
	for _, arg := range s.args {
		if err := checkArgument(s.subject.valueType, name, arg); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// operatorSymbols are the operators that are not words. An operator comes before its prefixes.
var operatorSymbols = []string{"==", "!=", ">=", "<=", "=~", "!~", ">", "<"}

func (p *parser) parseOperator(subject string) (operator, error) {
	for _, s := range operatorSymbols {
		if p.acceptSymbol(s) {
			return operators[s], nil
		}
	}
	word, bang := p.nextWord(), ""
	if p.acceptSymbol("!") {
		bang = "!"
	}
	op, ok := operators[bang+p.parseName()]
	if !ok {
		return operator{}, fmt.Errorf("expected an operator after %s, found %q", subject, word)
	}
	return op, nil
}

// parseArguments parses a value, or a list of values in brackets.
func (p *parser) parseArguments(list bool) ([]string, error) {
	if !list {
		arg, err := p.parseValue("")
		return []string{arg}, err
	}
	if !p.acceptSymbol("[") {
		return nil, fmt.Errorf("expected a list in brackets before %q", p.nextWord())
	}
	var args []string
	for {
		arg, err := p.parseValue(",]")
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
		switch {
		case p.acceptSymbol(","):
		case p.acceptSymbol("]"):
			return args, nil
		default:
			return nil, fmt.Errorf("expected ',' or ']' before %q", p.nextWord())
		}
	}
}

// parseValue parses a quoted value, or a bare one up to a space, one of the characters in ends, or a closing bracket
// without an opening one.
func (p *parser) parseValue(ends string) (string, error) {
	p.skipSpace()
	if rest, ok := strings.CutPrefix(p.rest, "'"); ok {
		value, rest, ok := strings.Cut(rest, "'")
		if !ok {
			return "", fmt.Errorf("missing closing quote after %q", value)
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
		return "", fmt.Errorf("expected a value before %q", p.nextWord())
	}
	value := p.rest[:n]
	p.rest = p.rest[n:]
	return value, nil
}

// checkArgument rejects an argument that cannot be compared with the subject's values.
func checkArgument(vt valueType, subject, arg string) error {
	switch vt {
	case boolean:
		if arg != "true" && arg != "false" {
			return fmt.Errorf("%s must be compared with true or false, not %q", subject, arg)
		}
	case number:
		if _, err := strconv.ParseInt(arg, 10, 32); err != nil {
			return fmt.Errorf("%s must be compared with a whole number, not %q", subject, arg)
		}
	case version:
		for part := range strings.SplitSeq(arg, ".") {
			if _, err := strconv.ParseUint(part, 10, 32); err != nil {
				return fmt.Errorf("%s must be compared with a version such as 1.94.0, not %q", subject, arg)
			}
		}
	case timestamp:
		if _, ok := parseTime(arg); !ok {
			return fmt.Errorf("%s must be compared with a date or a time such as 2018-06-18T22:28:28+00:00, not %q",
				subject, arg)
		}
	}
	return nil
}

package clusterquery_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/clusterquery"
)

var instance = clusterquery.Instance{
	Attributes: map[string]string{
		"ecs.instance-type": "g2.2xlarge", "ecs.availability-zone": "us-east-1a", "stack": "prod", "size": "10",
		"rack": "r 1", "ecs.capability.task-eni": "",
	},
	EC2InstanceID: "mi-0123", AgentConnected: true, AgentVersion: "1.94.2",
	RegisteredAt: time.Date(2018, 6, 18, 22, 28, 28, 0, time.UTC), RunningTasks: 3,
	Groups: []string{"service:web", "family:batch"},
}

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		expression string
		want       bool
	}{
		// The examples of the guide (ECS Developer Guide, "Cluster query language").
		{"attribute:ecs.instance-type == t2.small", false},
		{"attribute:ecs.availability-zone in [us-east-1a, us-east-1b]", true},
		{"attribute:ecs.instance-type =~ g2.* and attribute:ecs.availability-zone != us-east-1d", true},
		{"task:group == service:production", false},
		{"not(task:group == databaseservices)", true},
		{"runningTasksCount == 1", false},
		{"agentVersion >= 1.9.0", true},
		{"registeredAt < 2018-06-18T22:28:28+00:00", false},
		{"ec2InstanceId in ['mi-0123', 'mi-0124']", true},

		{"attribute:stack equals prod", true},
		{"attribute:stack == 'prod'", true},
		{"attribute:rack == 'r 1'", true},
		{"attribute:stack not_equals prod", false},
		{"attribute:stack==prod", true},
		{"attribute:ecs.capability.task-eni exists", true},
		{"attribute:ecs.capability.task-eni == ''", true},
		{"attribute:stack !exists", false},
		{"attribute:nothing not_exists", true},
		{"attribute:stack not_in [test, dev]", true},
		{"attribute:stack !in [prod]", false},
		{"attribute:stack matches pr", false}, // a pattern has to match the whole value
		{"attribute:stack =~ (prod|test)", true},
		{"(attribute:stack =~ (prod|test))", true},
		{"attribute:stack =~ [p]rod || attribute:stack == x", true},
		{"attribute:stack !~ p.*", false},
		{"attribute:stack in [(a),prod]", true},

		// A missing attribute fails every test and satisfies every negated one.
		{"attribute:nothing == prod", false}, {"attribute:nothing != prod", true},
		{"attribute:nothing in [prod]", false}, {"attribute:nothing !in [prod]", true},
		{"attribute:nothing =~ .*", false}, {"attribute:nothing !~ .*", true},
		{"attribute:nothing > 1", false}, {"attribute:nothing <= 1", false},

		// Two numbers compare as numbers, other values as text.
		{"attribute:size > 9", true}, {"attribute:size < 9", false}, {"attribute:size >= 10.0", true},
		{"attribute:size == 10.0", false},
		{"attribute:stack greater_than alpha", true}, {"attribute:stack less_than alpha", false},
		{"runningTasksCount >= 3", true}, {"runningTasksCount less_than_equal 2", false},
		{"agentVersion > 1.94", true}, {"agentVersion == 1.94.2", true}, {"agentVersion < 1.100.0", true},
		{"registeredAt == 2018-06-19T00:28:28+02:00", true}, {"registeredAt > 2018-06-18", true},
		{"registeredAt <= 2018-06-18T22:28:28Z", true}, {"registeredAt == 2018-06-18T22:28:28", true},
		{"agentConnected == true", true}, {"agentConnected != true", false},

		// An instance can run tasks of several groups.
		{"task:group == family:batch", true}, {"task:group != service:web", false},
		{"task:group in [service:a, service:web]", true}, {"task:group =~ service:w.*", true},
		{"task:group !~ x.*", true},

		// not has precedence over and, which has precedence over or.
		{"runningTasksCount == 3 or runningTasksCount == 1 and runningTasksCount == 2", true},
		{"(runningTasksCount == 3 or runningTasksCount == 1) and runningTasksCount == 2", false},
		{"not runningTasksCount == 3 or runningTasksCount == 3", true},
		{"!(runningTasksCount == 3 || runningTasksCount == 3)", false},
		{"not not runningTasksCount == 3 && !runningTasksCount == 4", true},
	} {
		e, err := clusterquery.Parse(tc.expression)
		if err != nil {
			t.Errorf("%s: %v", tc.expression, err)
			continue
		}
		if got := e.Match(instance); got != tc.want {
			t.Errorf("%s: Match = %v, want %v", tc.expression, got, tc.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, tc := range []struct{ expression, want string }{
		{"", `unknown subject "the end"`},
		{"stack == prod", `unknown subject "stack"`},
		{"attribute: == prod", `unknown subject "attribute:"`},
		{"attribute:stack", `expected an operator after attribute:stack, found "the end"`},
		{"attribute:stack is prod", `expected an operator after attribute:stack, found "is"`},
		{"attribute:stack ==", `expected a value before "the end"`},
		{"attribute:stack == prod test", `unexpected "test"`},
		{"attribute:stack == prod and", `unknown subject "the end"`},
		{"(attribute:stack == prod", `expected ')'`},
		{"attribute:stack == prod)", `unexpected ")"`},
		{"attribute:stack in prod", `expected a list in brackets`},
		{"attribute:stack in []", `expected a value`},
		{"attribute:stack in [a b]", `expected ',' or ']'`},
		{"attribute:stack in [a", `expected ',' or ']'`},
		{"attribute:stack == 'prod", `missing closing quote`},
		{"attribute:stack =~ '('", `invalid regular expression`},
		{"attribute:stack exists prod", `unexpected "prod"`},
		{"agentConnected > true", `agentConnected does not support this operator`},
		{"agentConnected == yes", `true or false`},
		{"agentVersion in [1.0.0]", `does not support this operator`},
		{"agentVersion > latest", `a version`},
		{"runningTasksCount =~ 1", `does not support this operator`},
		{"runningTasksCount > many", `a whole number`},
		{"registeredAt > yesterday", `a date or a time`},
		{"task:group exists", `does not support this operator`},
		{"attribute:a == " + strings.Repeat("x", clusterquery.MaxLength), `at most 2000`},
	} {
		if _, err := clusterquery.Parse(tc.expression); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%.60s: error %v, want one that contains %q", tc.expression, err, tc.want)
		}
	}
}

// FuzzParse checks that Parse never panics, and that the negation of an expression in parentheses parses and has the
// opposite result.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"attribute:a == b",
		"not (attribute:a in [b, 'c d'] and task:group =~ (x|y)) || runningTasksCount >= 2",
		"registeredAt > 2018-06-18", "agentVersion != 1.2", "!attribute:a !exists", "((((",
		"attribute:a =~ [", "attribute:a == ]",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := clusterquery.Parse(s)
		if err != nil {
			if err.Error() == "" {
				t.Error("error without a text")
			}
			return
		}
		got := e.Match(instance)
		again, err := clusterquery.Parse("not ( " + s + " )")
		if err != nil {
			if len(s) > clusterquery.MaxLength-10 {
				return
			}
			t.Fatalf("parses alone, but not in parentheses: %v", err)
		}
		if again.Match(instance) == got {
			t.Errorf("Match is %v for an expression and for its negation", got)
		}
	})
}

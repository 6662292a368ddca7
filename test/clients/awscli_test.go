package clients

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/test/harness"
)

// terminal runs command lines as a user with one AWS CLI and a server does.
type terminal struct {
	t       *testing.T
	s       *harness.Server
	environ []string
}

// newTerminal returns a terminal with the environment of a server's user.
func newTerminal(t *testing.T, s *harness.Server, aws awsCLI) *terminal {
	t.Helper()
	return &terminal{t, s, harness.UserEnviron("PATH="+aws.path, "ROLLCALL="+harness.TestBinary(t),
		"ROLLCALL_DATA="+s.Dir, "XDG_RUNTIME_DIR="+s.Dir, harness.RunAsCommand+"=1")}
}

// tryRun runs a command line of sh in which `aws` is `rollcall aws`.
func (u *terminal) tryRun(line string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(u.t.Context(), "sh", "-c", `aws() { "$ROLLCALL" aws "$@"; }; `+line)
	cmd.Env = u.environ
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return strings.TrimSpace(out.String()), strings.TrimSpace(errs.String()), err
}

// run runs a command line as tryRun does, and fails the test if it fails or prints to standard error.
func (u *terminal) run(line string) string {
	u.t.Helper()
	stdout, stderr, err := u.tryRun(line)
	if err != nil || stderr != "" {
		u.t.Fatalf("%s\n%v, stdout %s, stderr %s", line, err, stdout, stderr)
	}
	return stdout
}

// TestAWSCLI does what scripts do, with each AWS CLI on this machine.
func TestAWSCLI(t *testing.T) {
	t.Parallel()
	eachCLI(t, func(t *testing.T, aws awsCLI) {
		t.Helper()
		s := harness.Serve(t)
		u := newTerminal(t, s, aws)
		arn := u.run("aws sts get-caller-identity --query Arn --output text")
		if arn != "arn:aws:iam::000000000000:root" {
			t.Errorf("get-caller-identity returns %s", arn)
		}

		// Scripts wait for an operation in a loop, some of them until the status is not PENDING.
		namespace := u.run(`
			op=$(aws servicediscovery create-http-namespace --name shop --query OperationId --output text)
			get() { aws servicediscovery get-operation --operation-id $op --output text --query "$1"; }
			while status=$(get Operation.Status); [ $status = SUBMITTED ] || [ $status = PENDING ]; do :; done
			get '[Operation.Status, Operation.Type, Operation.Targets.NAMESPACE]'`)
		words := strings.Fields(namespace)
		if len(words) != 3 || words[0] != "SUCCESS" || words[1] != "CREATE_NAMESPACE" {
			t.Fatalf("the operation is %q, want SUCCESS CREATE_NAMESPACE and an id", namespace)
		}
		cart := u.run("aws servicediscovery create-service --name cart --namespace-id " + words[2] +
			" --query Service.Id --output text")
		u.run("aws servicediscovery register-instance --service-id " + cart +
			" --instance-id i-1 --attributes AWS_INSTANCE_IPV4=10.0.0.1,stage=blue")
		u.run("aws servicediscovery register-instance --service-id " + cart +
			" --instance-id i-2 --attributes AWS_INSTANCE_IPV4=10.0.0.2,stage=green")
		const discover = "servicediscovery discover-instances --namespace-name shop --service-name cart" +
			" --output text --query 'Instances[].Attributes.AWS_INSTANCE_IPV4'"
		if got := u.run("aws " + discover + " --query-parameters stage=green"); got != "10.0.0.2" {
			t.Errorf("discover-instances returns %q, want 10.0.0.2", got)
		}
		got := u.run("aws servicediscovery list-instances --service-id " + cart +
			" --page-size 1 --output text --query 'Instances[].Id'")
		if !slices.Equal(strings.Fields(got), []string{"i-1", "i-2"}) {
			t.Errorf("list-instances with pages of one returns %q, want both instances", got)
		}
		u.checkWithoutWrapper(discover)
		u.checkErrors(cart)
		u.checkWaiters()
	})
}

// checkWithoutWrapper runs the CLI without `rollcall aws`, in a shell that has evaluated `rollcall env`, unless that
// reports that the CLI is too old.
func (u *terminal) checkWithoutWrapper(command string) {
	u.t.Helper()
	stdout, stderr, err := u.tryRun(`eval "$("$ROLLCALL" env)"; command aws ` + command)
	if strings.Contains(stderr, "too old") {
		return
	}
	if err != nil || len(strings.Fields(stdout)) != 2 {
		u.t.Errorf("aws %s, after rollcall env: %v, stdout %q, stderr %q", command, err, stdout, stderr)
	}
}

// checkErrors checks which errors the CLI prints.
func (u *terminal) checkErrors(service string) {
	u.t.Helper()
	for _, tc := range []struct{ line, want string }{
		{"aws servicediscovery get-namespace --id ns-nope",
			`\(NamespaceNotFound\) when calling the GetNamespace operation: .*ns-nope`},
		{"aws servicediscovery create-http-namespace --name shop",
			`\(NamespaceAlreadyExists\) when calling the CreateHttpNamespace operation: .*shop`},
		{"aws servicediscovery discover-instances --namespace-name shop --service-name till",
			`\(ServiceNotFound\) when calling the DiscoverInstances operation: .*till`},
		{"aws servicediscovery delete-service --id " + service,
			`\(ResourceInUse\) when calling the DeleteService operation: `},
		{"aws servicediscovery get-operation --operation-id nope",
			`\(OperationNotFound\) when calling the GetOperation operation: `},
		{"aws ecs list-services --cluster nope",
			`\(ClusterNotFoundException\) when calling the ListServices operation: `},
		{"aws ecs update-service --service nope --desired-count 1",
			`\((ServiceNotFoundException|ClusterNotFoundException)\) when calling the UpdateService operation: `},
		{"aws ecs create-service --service-name x --task-definition nope",
			`\((ClientException|InvalidParameterException)\) when calling the CreateService operation: `},
		{`eval "$("$ROLLCALL" env 2>/dev/null)"
			AWS_SECRET_ACCESS_KEY=wrong command aws --endpoint-url "$AWS_ENDPOINT_URL" sts get-caller-identity`,
			`\(SignatureDoesNotMatch\) when calling the GetCallerIdentity operation: `},
		{"aws dynamodb list-tables", `\(\w+\) when calling the ListTables operation: `},
	} {
		stdout, stderr, err := u.tryRun(tc.line)
		if err == nil || stdout != "" || !regexp.MustCompile(`An error occurred `+tc.want).MatchString(stderr) {
			u.t.Errorf("%s\n%v, stdout %q, stderr %q; want %s", tc.line, err, stdout, stderr, tc.want)
		}
	}
}

// checkWaiters runs a task and the CLI's waiters for it.
func (u *terminal) checkWaiters() {
	u.t.Helper()
	u.run(`aws ecs register-task-definition --family nap --network-mode awsvpc \
		--container-definitions '[{"name":"main","image":"none","memory":64,"command":["/bin/sleep","1000"]}]'`)
	task := u.run(`aws ecs run-task --task-definition nap --query 'tasks[0].taskArn' --output text \
		--network-configuration 'awsvpcConfiguration={subnets=[subnet-local]}'`)
	u.run("aws ecs wait tasks-running --tasks " + task)
	u.run("aws ecs stop-task --task " + task + " --reason enough")
	u.run("aws ecs wait tasks-stopped --tasks " + task)
	const query = "'tasks[0].[lastStatus,stopCode,stoppedReason]'"
	got := u.run("aws ecs describe-tasks --tasks " + task + " --output text --query " + query)
	if got != "STOPPED\tUserInitiated\tenough" {
		u.t.Errorf("describe-tasks of the stopped task returns %q", got)
	}
	if _, stderr, err := u.tryRun("aws ecs wait tasks-running --tasks " + task); err == nil ||
		!strings.Contains(stderr, "terminal failure") {
		u.t.Errorf("wait tasks-running on a stopped task: %v, %q", err, stderr)
	}
}

// awsCLI is an AWS CLI on this machine.
type awsCLI struct {
	version string // such as aws-cli/2.9.19
	path    string // a search path on which it comes first
}

// awsCLIs returns the AWS CLIs on the search path, one of each version. On some machines an old one of the distribution
// comes after a current one.
func awsCLIs(t *testing.T) (found []awsCLI) {
	t.Helper()
	seen := map[string]bool{}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		out, err := exec.Command(filepath.Join(dir, "aws"), "--version").CombinedOutput()
		version, _, _ := strings.Cut(string(out), " ")
		if err != nil || seen[version] || !strings.HasPrefix(version, "aws-cli/") {
			continue
		}
		seen[version] = true
		found = append(found, awsCLI{version, dir + string(filepath.ListSeparator) + os.Getenv("PATH")})
	}
	if len(found) == 0 {
		harness.SkipMissing(t, "the AWS CLI")
	}
	return found
}

// eachCLI runs a test with each AWS CLI on this machine.
func eachCLI(t *testing.T, test func(t *testing.T, aws awsCLI)) {
	t.Helper()
	for _, aws := range awsCLIs(t) {
		t.Run(strings.ReplaceAll(aws.version, "/", "-"), func(t *testing.T) {
			t.Parallel()
			test(t, aws)
		})
	}
}

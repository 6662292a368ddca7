package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/task"
)

// write writes a file for a [SecretResolver].
func write(t *testing.T, mode os.FileMode, text string, path ...string) {
	t.Helper()
	name := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

// TestSecrets reads secrets by every name that AWS accepts. For files that are not valid secrets it expects errors that
// do not contain the file's contents.
func TestSecrets(t *testing.T) {
	const inside = "hunter2"
	dir := t.TempDir()
	r := SecretResolver{Secrets: filepath.Join(dir, "secrets"), Files: filepath.Join(dir, "files")}
	write(t, 0o600, inside+"\n", r.Secrets, "token")
	write(t, 0o400, inside, r.Secrets, "prod", "db", "password")
	write(t, 0o600, `{"user":"ada","port":5432,"secret":"`+inside+`"}`, r.Secrets, "login")
	write(t, 0o600, inside, r.Secrets, "exact-AbCdEf")
	write(t, 0o640, inside, r.Secrets, "open")
	write(t, 0o600, inside+"\x00", r.Secrets, "binary")
	write(t, 0o600, strings.Repeat(inside, 10000), r.Secrets, "large")
	write(t, 0o600, inside, dir, "outside")
	if err := os.Symlink("../outside", filepath.Join(r.Secrets, "link")); err != nil {
		t.Fatal(err)
	}
	const asm, ssm = "arn:aws:secretsmanager:eu-west-1:000000000000:secret:",
		"arn:aws:ssm:eu-west-1:000000000000:parameter/"
	for _, tc := range []struct{ from, want, wrong string }{
		{"token", inside, ""},
		{"/prod/db/password", inside, ""},
		{ssm + "prod/db/password", inside, ""},
		{asm + "token", inside, ""},
		{asm + "token-x1Y2z3", inside, ""},
		{asm + "prod/db/password-AbCdEf", inside, ""},
		{asm + "exact-AbCdEf", inside, ""},
		{asm + "login-AbCdEf:user::", "ada", ""},
		{asm + "login:port", "5432", ""},
		{asm + "login:user:AWSCURRENT:", "ada", ""},

		{asm + "login:user:AWSPREVIOUS:", "", "current version"},
		{asm + "login:user::0e5c", "", "current version"},
		{asm + "login:missing::", "", "json key missing"},
		{asm + "token:user::", "", "not a JSON object"},
		{asm + "none-AbCdEf", "", "ResourceNotFoundException: Secrets Manager can't find the specified secret. " +
			"This server looks for it in the file DATA/secrets/none"},
		{"/no/such/parameter", "", "DATA/secrets/no/such/parameter"},
		{"open", "", "chmod 600"},
		{"binary", "", "not text"},
		{"large", "", "may have at most 65536"},
		{"prod", "", "not a file"},
		{"link", "", "fetch secret link"},
		{"../outside", "", "cannot be that of a file"},
		{asm + "../outside", "", "cannot be that of a file"},
		{"", "", "cannot be that of a file"},
		{"arn:aws:s3:::bucket/key", "", "neither a secret"},
		{"arn:aws:ssm", "", "invalid secret"},
	} {
		_, got, err := r.environment(&task.ContainerDefinition{Secrets: []task.Secret{{Name: "S", From: tc.from}}})
		switch {
		case tc.wrong == "" && (err != nil || got["S"] != tc.want):
			t.Errorf("%s: %q, %v; want %q", tc.from, got["S"], err, tc.want)
		case tc.wrong != "" && (err == nil || !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tc.wrong) ||
			!strings.Contains(err.Error(), "ResourceInitializationError: unable to pull secrets or registry auth: ")):
			t.Errorf("%s: %v, want %q", tc.from, err, tc.wrong)
		case err != nil && (strings.Contains(err.Error(), inside) || strings.Contains(err.Error(), dir)):
			t.Errorf("%s: the error contains a secret or a path: %v", tc.from, err)
		}
	}
	missing := SecretResolver{Secrets: dir + "/missing"}
	_, _, err := missing.environment(&task.ContainerDefinition{Secrets: []task.Secret{{Name: "S", From: "token"}}})
	if err == nil || !strings.Contains(err.Error(), "DATA/secrets/token") {
		t.Errorf("without the folder: %v", err)
	}
}

// TestEnvironmentFiles checks which value of a variable wins: of environment files the first, over them the
// definition's variables, and over those the secrets.
func TestEnvironmentFiles(t *testing.T) {
	dir := t.TempDir()
	r := SecretResolver{Secrets: filepath.Join(dir, "secrets"), Files: filepath.Join(dir, "files")}
	write(t, 0o644, "# comment\nA=1\r\nB=\"quoted\"\n\nnothing\n=x\nC=x=y\nA=2\n", r.Files, "bucket", "app.env")
	write(t, 0o644, "A=3\nD=4\nE=5\n", r.Files, "bucket", "deep", "er.env")
	write(t, 0o600, "six", r.Secrets, "e")
	def := &task.Definition{Containers: []task.ContainerDefinition{{
		Environment:      map[string]string{"D": "definition", "F": "definition"},
		Secrets:          []task.Secret{{Name: "E", From: "e"}},
		EnvironmentFiles: []string{"arn:aws:s3:::bucket/app.env", "arn:aws:s3:::bucket/deep/er.env"},
	}}}
	a := &Agent{Config: Config{Secrets: r, Environment: func(*task.Task, *task.Definition, int) map[string]string {
		return map[string]string{"F": "ecs", "AWS_REGION": "ecs"}
	}}}
	spec, err := a.spec(&task.Task{ID: "t"}, def)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"A": "1", "B": `"quoted"`, "C": "x=y", "D": "definition", "E": "six", "F": "definition",
		"AWS_REGION": "ecs"}
	if got := spec.Containers[0].Env; !reflect.DeepEqual(got, want) {
		t.Errorf("the container's environment is %v, want %v", got, want)
	}
	for from, wrong := range map[string]string{
		"arn:aws:s3:::bucket/none.env": "NoSuchKey", "arn:aws:s3:::bucket": "not the ARN of an object",
		"app.env":                             "not the ARN of an object",
		"arn:aws:s3:::bucket/../../secrets/e": "cannot be that of a file",
	} {
		_, _, err := r.environment(&task.ContainerDefinition{EnvironmentFiles: []string{from}})
		if err == nil || !strings.Contains(err.Error(), "ResourceInitializationError: failed to download env files: ") ||
			!strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %v, want %q", from, err, wrong)
		}
	}
}

// TestEnvironmentIsBounded checks the limit on a task's environment, which the supervisor's protocol needs.
func TestEnvironmentIsBounded(t *testing.T) {
	dir := t.TempDir()
	c := task.ContainerDefinition{}
	for i := range 10 {
		name := fmt.Sprintf("%d.env", i)
		write(t, 0o600, fmt.Sprintf("V%d=%s\n", i, strings.Repeat("x", 60<<10)), dir, "b", name)
		c.EnvironmentFiles = append(c.EnvironmentFiles, "arn:aws:s3:::b/"+name)
	}
	a := &Agent{Config: Config{Secrets: SecretResolver{Files: dir}}}
	_, err := a.spec(&task.Task{ID: "t"}, &task.Definition{Containers: []task.ContainerDefinition{c}})
	if err == nil || !strings.Contains(err.Error(),
		"ResourceInitializationError: the environment of the task has more than") {
		t.Errorf("an environment of 600 KiB: %v", err)
	}
}

package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/task"
)

// SecretResolver reads what AWS keeps for tasks in Secrets Manager, Systems Manager and S3 from files in the data
// folder, named as at AWS (docs/secrets.md). The agent reads them when it creates a task. Their contents never appear
// in an error, a log, a row or a document.
type SecretResolver struct {
	Secrets string // the folder with a file for each secret or parameter
	Files   string // the folder with the environment files: BUCKET/KEY
}

// The limits, in bytes. AWS's secrets have at most 64 KiB.
const (
	maxSecret          = 64 << 10
	maxEnvironmentFile = 256 << 10
	maxEnvironment     = 512 << 10 // of all containers of a task together
)

// environment returns what is added to a container's environment: the variables of its environment files, of which the
// first file with a name wins, and its secrets (ECS Developer Guide, "Pass environment variables to a container").
func (r SecretResolver) environment(c *task.ContainerDefinition) (files, secrets map[string]string, err error) {
	files, secrets = map[string]string{}, map[string]string{}
	for _, from := range c.EnvironmentFiles {
		text, err := r.environmentFile(from)
		if err != nil {
			return nil, nil, initializationError("failed to download env files: %v", err)
		}
		for _, v := range parseEnvironmentFile(text) {
			if _, set := files[v.name]; !set {
				files[v.name] = v.value
			}
		}
	}
	for _, s := range c.Secrets {
		value, err := r.secret(s.From)
		if err != nil {
			return nil, nil, initializationError("unable to pull secrets or registry auth: %v", err)
		}
		secrets[s.Name] = value
	}
	return files, secrets, nil
}

// login reads the user name and password for a registry from a secret ("Using non-AWS container images in Amazon ECS":
// {"username": "…", "password": "…"}).
func (r SecretResolver) login(from string) (*Login, error) {
	const failure = "unable to pull secrets or registry auth: "
	text, err := r.secret(from)
	if err != nil {
		return nil, initializationError(failure+"%v", err)
	}
	var login Login // encoding/json ignores the case of members
	if json.Unmarshal([]byte(text), &login) != nil || login.Username == "" || login.Password == "" {
		return nil, initializationError(
			failure+`secret %s must be a JSON object with the strings "username" and "password"`, from)
	}
	return &login, nil
}

// byName reads the secrets of a map from name to valueFrom.
func (r SecretResolver) byName(secrets map[string]string) (map[string]string, error) {
	values := map[string]string{}
	for name, from := range secrets {
		value, err := r.secret(from)
		if err != nil {
			return nil, initializationError("unable to pull secrets or registry auth: %v", err)
		}
		values[name] = value
	}
	return values, nil
}

// initializationError returns the error of a task that cannot start, as ECS words it.
func initializationError(format string, args ...any) error {
	return fault.New(fault.Invalid, "task", "ResourceInitializationError: "+format, args...)
}

// secretRef is what a secret's valueFrom refers to.
type secretRef struct {
	files []string // the names that its file may have, in the order in which they are tried
	key   string   // a member of the JSON object in it; empty for all of it
}

// randomSuffix is what Secrets Manager appends to a secret's name in its ARN.
var randomSuffix = regexp.MustCompile(`-[A-Za-z0-9]{6}$`)

// parseSecretRef parses valueFrom: the name or ARN of a parameter, or the ARN of a secret, which a JSON key, a version
// stage and a version id may follow ("Pass Secrets Manager secrets through Amazon ECS environment variables").
func parseSecretRef(from string) (secretRef, error) {
	if !arn.Is(from) {
		return secretRef{files: []string{strings.TrimPrefix(from, "/")}}, nil
	}
	a, err := arn.Parse(from)
	if err != nil {
		return secretRef{}, err
	}
	switch a.Service {
	case "ssm":
		if name, ok := strings.CutPrefix(a.Resource, "parameter/"); ok {
			return secretRef{files: []string{name}}, nil
		}
	case "secretsmanager":
		rest, ok := strings.CutPrefix(a.Resource, "secret:")
		if !ok {
			break
		}
		parts := strings.Split(rest, ":")
		parts = append(parts, make([]string, max(0, 4-len(parts)))...)
		if len(parts) > 4 || parts[2] != "" && parts[2] != "AWSCURRENT" || parts[3] != "" {
			return secretRef{}, errors.New("this server has only the current version of a secret")
		}
		ref := secretRef{files: []string{parts[0]}, key: parts[1]}
		if short := randomSuffix.ReplaceAllString(parts[0], ""); short != parts[0] && short != "" {
			ref.files = append(ref.files, short)
		}
		return ref, nil
	}
	return secretRef{}, errors.New("it is neither a secret of Secrets Manager nor a parameter of Systems Manager")
}

// secret returns the value that valueFrom refers to.
func (r SecretResolver) secret(from string) (string, error) {
	ref, err := parseSecretRef(from)
	if err != nil {
		return "", fmt.Errorf("invalid secret %s: %w", from, err)
	}
	text, err := readFirst(r.Secrets, ref.files, maxSecret, true)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("execution resource retrieval failed: failed to fetch secret %s: ResourceNotFoundException: "+
			"Secrets Manager can't find the specified secret. This server looks for it in the file %s",
			from, path.Join("DATA/secrets", ref.files[len(ref.files)-1]))
	}
	if err != nil {
		return "", fmt.Errorf("execution resource retrieval failed: failed to fetch secret %s: %w", from, err)
	}
	value := strings.TrimSuffix(string(text), "\n") // editors end a file with one
	if ref.key != "" {
		if value, err = jsonMember(value, ref.key); err != nil {
			return "", fmt.Errorf("retrieved secret from Secrets Manager did not contain json key %s: %w", ref.key, err)
		}
	}
	if strings.ContainsRune(value, 0) || !utf8.ValidString(value) {
		return "", fmt.Errorf("secret %s cannot be an environment variable: it is not text", from)
	}
	return value, nil
}

// jsonMember returns a member of a JSON object: the value of a string, and the JSON of anything else.
func jsonMember(text, key string) (string, error) {
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &object) != nil {
		return "", errors.New("it is not a JSON object") // the parser's error would show part of the secret
	}
	raw, ok := object[key]
	if !ok {
		return "", errors.New("it has no such member")
	}
	var value string
	if json.Unmarshal(raw, &value) == nil {
		return value, nil
	}
	return string(raw), nil
}

// environmentFile reads an environment file by the ARN of its object in S3.
func (r SecretResolver) environmentFile(from string) ([]byte, error) {
	a, err := arn.Parse(from)
	bucket, key, ok := strings.Cut(a.Resource, "/")
	if err != nil || a.Service != "s3" || !ok || bucket == "" {
		return nil, fmt.Errorf("%s is not the ARN of an object in S3, arn:aws:s3:::bucket/key", from)
	}
	text, err := readFirst(r.Files, []string{bucket + "/" + key}, maxEnvironmentFile, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("unable to download object with key %s from bucket %s, read failed: NoSuchKey: "+
			"The specified key does not exist. This server looks for it in the file %s",
			key, bucket, path.Join("DATA/files", bucket, key))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	return text, nil
}

// readFirst reads the first file that exists, of names in a folder that it does not leave.
func readFirst(dir string, names []string, maxSize int64, private bool) (text []byte, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer root.Close()
	for _, name := range names {
		if !fs.ValidPath(name) || name == "." {
			return nil, errors.New("its name cannot be that of a file")
		}
		text, err = readFile(root, name, maxSize, private)
		if !errors.Is(err, fs.ErrNotExist) {
			return text, err
		}
	}
	return nil, err
}

func readFile(root *os.Root, name string, maxSize int64, private bool) ([]byte, error) {
	info, err := root.Stat(name) // before opening: opening a pipe would wait for a writer
	switch {
	case err != nil:
		return nil, withoutPath(err)
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a file")
	case private && info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("other users can access the file, mode %04o; chmod 600 it", info.Mode().Perm())
	case info.Size() > maxSize:
		return nil, fmt.Errorf("it has %d bytes, and may have at most %d", info.Size(), maxSize)
	}
	file, err := root.Open(name)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSize))
	return text, withoutPath(err)
}

// withoutPath removes the path on this machine from an error, since readers of a task's stoppedReason must not learn
// it.
func withoutPath(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

type variable struct{ name, value string }

// parseEnvironmentFile parses lines of NAME=VALUE; "#" begins a comment, and quotes are part of the value ("Pass
// environment variables to a container").
func parseEnvironmentFile(text []byte) (all []variable) {
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		line = bytes.TrimSuffix(line, []byte("\r"))
		name, value, ok := strings.Cut(string(line), "=")
		if !ok || name == "" || strings.HasPrefix(name, "#") || strings.ContainsRune(string(line), 0) || !utf8.Valid(line) {
			continue
		}
		all = append(all, variable{name, value})
	}
	return all
}

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

// Vault is where this node's tasks get what AWS keeps in Secrets Manager, Systems Manager and S3: from files of the
// data folder, named as the thing is named at AWS (docs/secrets.md). They are read when a task is created; what is in
// them is in no error, log, row or document.
type Vault struct {
	Secrets string // folder: a file for each secret or parameter
	Files   string // folder: BUCKET/KEY
}

// The bounds of what a task gets from the vault, in bytes. AWS's secrets have at most 64 KiB.
const (
	maxSecret      = 64 << 10
	maxFile        = 256 << 10
	maxEnvironment = 512 << 10 // of all containers of a task together
)

// environment is what the vault adds to a container's environment: the variables of its environment files, of which the
// first to name one wins, and over them its secrets (ECS Developer Guide, "Pass environment variables to a container").
func (v Vault) environment(c *task.ContainerDefinition) (files, secrets map[string]string, err error) {
	for _, from := range c.EnvironmentFiles {
		text, err := v.file(from)
		if err != nil {
			return nil, nil, initializationError("failed to download env files: %v", err)
		}
		for _, pair := range parseEnvironmentFile(text) {
			if _, have := files[pair.name]; !have {
				files = put(files, pair.name, pair.value)
			}
		}
	}
	for _, s := range c.Secrets {
		value, err := v.secret(s.From)
		if err != nil {
			return nil, nil, initializationError("unable to pull secrets or registry auth: %v", err)
		}
		secrets = put(secrets, s.Name, value)
	}
	return files, secrets, nil
}

// login reads the user name and password of a registry out of a secret ("Using non-AWS container images in Amazon ECS":
// {"username": "…", "password": "…"}).
func (v Vault) login(from string) (*Login, error) {
	const trouble = "unable to pull secrets or registry auth: "
	text, err := v.secret(from)
	if err != nil {
		return nil, initializationError(trouble+"%v", err)
	}
	var login Login // encoding/json takes members in any case
	if json.Unmarshal([]byte(text), &login) != nil || login.Username == "" || login.Password == "" {
		return nil, initializationError(trouble+`secret %s is no JSON object with the strings "username" and "password"`, from)
	}
	return &login, nil
}

// named reads secrets by what they are for.
func (v Vault) named(secrets map[string]string) (map[string]string, error) {
	var values map[string]string
	for name, from := range secrets {
		value, err := v.secret(from)
		if err != nil {
			return nil, initializationError("unable to pull secrets or registry auth: %v", err)
		}
		values = put(values, name, value)
	}
	return values, nil
}

func put(m map[string]string, name, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[name] = value
	return m
}

// initializationError is a task that cannot start, in ECS's words.
func initializationError(format string, args ...any) error {
	return fault.New(fault.Invalid, "task", "ResourceInitializationError: "+format, args...)
}

// secretName is what a secret's valueFrom asks for.
type secretName struct {
	names []string // of its file, in the order in which they are tried
	key   string   // of the JSON object in it; empty for all of it
}

// randomSuffix is what Secrets Manager adds to a secret's name in its ARN.
var randomSuffix = regexp.MustCompile(`-[A-Za-z0-9]{6}$`)

// parseSecretName reads valueFrom: the name or ARN of a parameter, or the ARN of a secret with a JSON key, a version stage
// and a version id behind it ("Pass Secrets Manager secrets through Amazon ECS environment variables").
func parseSecretName(from string) (secretName, error) {
	if !arn.Is(from) {
		return secretName{names: []string{strings.TrimPrefix(from, "/")}}, nil
	}
	a, err := arn.Parse(from)
	if err != nil {
		return secretName{}, err
	}
	switch a.Service {
	case "ssm":
		if name, ok := strings.CutPrefix(a.Resource, "parameter/"); ok {
			return secretName{names: []string{name}}, nil
		}
	case "secretsmanager":
		rest, ok := strings.CutPrefix(a.Resource, "secret:")
		if !ok {
			break
		}
		parts := strings.Split(rest, ":")
		parts = append(parts, make([]string, max(0, 4-len(parts)))...)
		if len(parts) > 4 || parts[2] != "" && parts[2] != "AWSCURRENT" || parts[3] != "" {
			return secretName{}, errors.New("only the current version of a secret can be had here")
		}
		s := secretName{names: []string{parts[0]}, key: parts[1]}
		if short := randomSuffix.ReplaceAllString(parts[0], ""); short != parts[0] && short != "" {
			s.names = append(s.names, short)
		}
		return s, nil
	}
	return secretName{}, errors.New("it is neither a secret of Secrets Manager nor a parameter of Systems Manager")
}

// secret reads the value that valueFrom names.
func (v Vault) secret(from string) (string, error) {
	name, err := parseSecretName(from)
	if err != nil {
		return "", fmt.Errorf("invalid secret %s: %w", from, err)
	}
	text, err := readFirst(v.Secrets, name.names, maxSecret, true)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("execution resource retrieval failed: failed to fetch secret %s: ResourceNotFoundException: "+
			"Secrets Manager can't find the specified secret. This server looks for it in the file %s", from, path.Join("DATA/secrets", name.names[len(name.names)-1]))
	}
	if err != nil {
		return "", fmt.Errorf("execution resource retrieval failed: failed to fetch secret %s: %w", from, err)
	}
	value := strings.TrimSuffix(string(text), "\n") // editors end a file with one
	if name.key != "" {
		if value, err = member(value, name.key); err != nil {
			return "", fmt.Errorf("retrieved secret from Secrets Manager did not contain json key %s: %w", name.key, err)
		}
	}
	if strings.ContainsRune(value, 0) || !utf8.ValidString(value) {
		return "", fmt.Errorf("secret %s cannot be a variable of the environment: it is not text", from)
	}
	return value, nil
}

// member takes a member out of a JSON object; one that is not a string is given as it is written.
func member(text, key string) (string, error) {
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &object) != nil {
		return "", errors.New("it is no JSON object") // and the parser's error would show a piece of it
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

// file reads an environment file by the ARN of its object in S3.
func (v Vault) file(from string) ([]byte, error) {
	a, err := arn.Parse(from)
	bucket, key, ok := strings.Cut(a.Resource, "/")
	if err != nil || a.Service != "s3" || !ok || bucket == "" {
		return nil, fmt.Errorf("%s is not the ARN of an object in S3, arn:aws:s3:::bucket/key", from)
	}
	text, err := readFirst(v.Files, []string{bucket + "/" + key}, maxFile, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("unable to download object with key %s from bucket %s, read failed: NoSuchKey: "+
			"The specified key does not exist. This server looks for it in the file %s", key, bucket, path.Join("DATA/files", bucket, key))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	return text, nil
}

// readFirst reads the first file of these names that there is, without leaving the folder.
func readFirst(dir string, names []string, most int64, private bool) (text []byte, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, plain(err)
	}
	defer root.Close()
	for _, name := range names {
		if !fs.ValidPath(name) || name == "." {
			return nil, errors.New("its name cannot be that of a file")
		}
		text, err = read(root, name, most, private)
		if !errors.Is(err, fs.ErrNotExist) {
			return text, err
		}
	}
	return nil, err
}

func read(root *os.Root, name string, most int64, private bool) ([]byte, error) {
	info, err := root.Stat(name) // before it is opened: opening a pipe would wait for a writer
	switch {
	case err != nil:
		return nil, plain(err)
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a file")
	case private && info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("others than its owner can reach the file, mode %04o: chmod 600 it", info.Mode().Perm())
	case info.Size() > most:
		return nil, fmt.Errorf("it has %d bytes; at most %d are taken", info.Size(), most)
	}
	file, err := root.Open(name)
	if err != nil {
		return nil, plain(err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, most))
	return text, plain(err)
}

// plain is an error without the path on this machine, which is nobody's business who reads a task's stoppedReason.
func plain(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

type variable struct{ name, value string }

// parseEnvironmentFile reads lines of NAME=VALUE; "#" begins a comment, quotes are part of the value ("Pass environment
// variables to a container").
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

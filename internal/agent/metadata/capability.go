package metadata

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// secret is the node's key. A name in a path contains what it refers to and a code made with the key, so that the
// endpoint stores no names: a name is valid for as long as the key is the same and the task exists.
type secret []byte

// codeBytes is the length of the part of a name that cannot be guessed.
const codeBytes = 16

// code authenticates the rest of a name for one purpose: a container's name does not give access to credentials.
func (s secret) code(purpose, of string) string {
	h := hmac.New(sha256.New, s)
	fmt.Fprintf(h, "%s\x00%s", purpose, of)
	return hex.EncodeToString(h.Sum(nil)[:codeBytes])
}

// The purposes of codes.
const (
	forContainer   = "container"
	forCredentials = "credentials"
	forToken       = "token"
)

// container returns the name of the nth container of a task's definition: TASK-N-CODE.
func (s secret) container(taskID string, n int) string {
	of := taskID + "-" + strconv.Itoa(n)
	return of + "-" + s.code(forContainer, of)
}

// containerOf parses a container's name; ok is false unless it was made with this key.
func (s secret) containerOf(name string) (taskID string, n int, ok bool) {
	of, ok := s.verify(forContainer, name)
	if !ok {
		return "", 0, false
	}
	cut := strings.LastIndexByte(of, '-')
	n, err := strconv.Atoi(of[cut+1:])
	return of[:max(cut, 0)], n, cut > 0 && err == nil
}

// credentials returns the name of a task's credentials: TASK-CODE.
func (s secret) credentials(taskID string) string {
	return taskID + "-" + s.code(forCredentials, taskID)
}

// credentialsOf parses the name of credentials; ok is false unless it was made with this key.
func (s secret) credentialsOf(name string) (taskID string, ok bool) {
	return s.verify(forCredentials, name)
}

// token returns the token that a task must send to get its credentials.
func (s secret) token(taskID string) string {
	return s.code(forToken, taskID) + s.code(forToken+"2", taskID)
}

// maxName is longer than any name: a task id has up to 128 characters.
const maxName = 256

// verify removes the code from a name, in a time that does not depend on how much of the code is right.
func (s secret) verify(purpose, name string) (of string, ok bool) {
	cut := len(name) - 2*codeBytes - 1
	if cut <= 0 || len(name) > maxName || name[cut] != '-' {
		return "", false
	}
	of = name[:cut]
	return of, hmac.Equal([]byte(name[cut+1:]), []byte(s.code(purpose, of)))
}

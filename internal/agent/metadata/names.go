package metadata

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// secret is the node's key. A name carries what it stands for and a code made with the key, so that nothing needs to be
// kept of it: it holds for as long as the key and the task do.
type secret []byte

// codeBytes is the length of the part of a name that cannot be guessed.
const codeBytes = 16

// code authenticates what stands before it in a name of some purpose: a container's name opens no credentials.
func (s secret) code(purpose, of string) string {
	h := hmac.New(sha256.New, s)
	fmt.Fprintf(h, "%s\x00%s", purpose, of)
	return hex.EncodeToString(h.Sum(nil)[:codeBytes])
}

const (
	forContainer   = "container"
	forCredentials = "credentials"
	forToken       = "token"
)

// container names the nth container of a task's definition: TASK-N-CODE.
func (s secret) container(taskID string, n int) string {
	of := taskID + "-" + strconv.Itoa(n)
	return of + "-" + s.code(forContainer, of)
}

// containerOf reads a container's name; ok is false unless it was made with this key.
func (s secret) containerOf(name string) (taskID string, n int, ok bool) {
	of, ok := s.open(forContainer, name)
	if !ok {
		return "", 0, false
	}
	cut := strings.LastIndexByte(of, '-')
	n, err := strconv.Atoi(of[cut+1:])
	return of[:max(cut, 0)], n, cut > 0 && err == nil
}

// credentials names a task's credentials: TASK-CODE.
func (s secret) credentials(taskID string) string {
	return taskID + "-" + s.code(forCredentials, taskID)
}

// credentialsOf reads the name of credentials.
func (s secret) credentialsOf(name string) (taskID string, ok bool) {
	return s.open(forCredentials, name)
}

// token is what a task must send along to get its credentials.
func (s secret) token(taskID string) string {
	return s.code(forToken, taskID) + s.code(forToken+"2", taskID)
}

// maxName is longer than any name: a task's id has up to 128 characters.
const maxName = 256

// open takes the code off a name, in a time that does not depend on how much of it is right.
func (s secret) open(purpose, name string) (of string, ok bool) {
	cut := len(name) - 2*codeBytes - 1
	if cut <= 0 || len(name) > maxName || name[cut] != '-' {
		return "", false
	}
	of = name[:cut]
	return of, hmac.Equal([]byte(name[cut+1:]), []byte(s.code(purpose, of)))
}

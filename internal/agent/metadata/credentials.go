package metadata

import (
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
)

// lifetime is how long a task's keys are good. SDKs come back for new ones some minutes before the end; the keys of a
// task that has ended die at most this much later.
const lifetime = time.Hour

// credentialsDocument is what container credential providers read.
type credentialsDocument struct {
	RoleArn         string
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      time.Time
}

// credentials gives a task with a role its keys.
func (e *Endpoint) credentials(w http.ResponseWriter, r *http.Request) {
	id, ok := e.secret.credentialsOf(r.PathValue("name"))
	if !ok {
		refuse(w, http.StatusBadRequest, "InvalidIdInRequest", "CredentialsV2Request: ID not found")
		return
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(e.secret.token(id))) != 1 {
		refuse(w, http.StatusUnauthorized, "Unauthorized", "CredentialsV2Request: the Authorization header is not the task's token")
		return
	}
	v, ok := e.view(w, id)
	if !ok {
		return
	}
	if v.def.TaskRole == "" {
		refuse(w, http.StatusBadRequest, "InvalidIdInRequest", "CredentialsV2Request: the task has no role")
		return
	}
	role := v.def.TaskRole
	if !strings.HasPrefix(role, "arn:") { // ECS takes a role's short name too
		role = arn.ARN{Partition: arn.Partition(v.task.Region), Service: "iam", Account: v.task.Account, Resource: "role/" + role}.String()
	}
	keys := e.Issue(time.Now().Add(lifetime))
	answer(w, http.StatusOK, credentialsDocument{role, keys.AccessKeyID, keys.Secret, keys.SessionToken, keys.Expires.UTC()})
}

// refuse answers as AWS's agent does where credentials are not to be had.
func refuse(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{code, message})
}

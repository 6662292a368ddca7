package metadata

import (
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/task"
)

// keyLifetime is the time for which a task's keys are valid. SDKs request new ones some minutes before the end. The
// keys of a task that has ended stay valid for at most this time.
const keyLifetime = time.Hour

// credentialsDocument is the document that the container credential providers of the SDKs read.
type credentialsDocument struct {
	RoleArn         string
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      time.Time
}

// serveCredentials answers a task with a role with new keys.
func (e *Endpoint) serveCredentials(w http.ResponseWriter, r *http.Request) {
	id, ok := e.secret.credentialsOf(r.PathValue("name"))
	if !ok {
		refuse(w, http.StatusBadRequest, "InvalidIdInRequest", "CredentialsV2Request: ID not found")
		return
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(e.secret.token(id))) != 1 {
		refuse(w, http.StatusUnauthorized, "Unauthorized",
			"CredentialsV2Request: the Authorization header is not the task's token")
		return
	}
	v, ok := e.taskView(w, id)
	if !ok {
		return
	}
	if v.def.TaskRole == "" {
		refuse(w, http.StatusBadRequest, "InvalidIdInRequest", "CredentialsV2Request: the task has no role")
		return
	}
	keys := e.Issue(time.Now().Add(keyLifetime))
	reply(w, http.StatusOK, credentialsDocument{
		RoleArn: roleARN(v.def.TaskRole, v.task), AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.Secret,
		Token: keys.SessionToken, Expiration: keys.Expires.UTC(),
	})
}

// roleARN returns the ARN of a task role; definitions can contain its name instead.
func roleARN(role string, t *task.Task) string {
	if strings.HasPrefix(role, "arn:") {
		return role
	}
	return arn.ARN{
		Partition: arn.Partition(t.Region), Service: "iam", Account: t.Account, Resource: "role/" + role,
	}.String()
}

// refuse sends an error in the form of AWS's agent.
func refuse(w http.ResponseWriter, status int, code, message string) {
	reply(w, status, struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{code, message})
}

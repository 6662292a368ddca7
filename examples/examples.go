// Package examples embeds the task definitions of the sample services, so that the demo deploys the files in this
// folder.
package examples

import _ "embed"

// The task definitions, as input of `aws ecs register-task-definition --cli-input-json`.
var (
	//go:embed flask-worker.json
	FlaskWorker []byte
	//go:embed flask-backend.json
	FlaskBackend []byte
)

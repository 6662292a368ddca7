// Package examples carries the task definitions of the sample services, so that the demo deploys the very
// files that a reader sees here.
package examples

import _ "embed"

// The task definitions, as `aws ecs register-task-definition --cli-input-json` takes them.
var (
	//go:embed flask-worker.json
	FlaskWorker []byte
	//go:embed flask-backend.json
	FlaskBackend []byte
)

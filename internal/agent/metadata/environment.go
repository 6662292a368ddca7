package metadata

import (
	"cmp"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// endpoints are the variables that direct an SDK to the endpoint of one API ("Service-specific endpoints" in the AWS
// SDKs and Tools Reference Guide). AWS_ENDPOINT_URL would also redirect APIs that this server does not have, such as
// S3.
var endpoints = []string{
	"AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", "AWS_ENDPOINT_URL_ECS", "AWS_ENDPOINT_URL_ROUTE_53", "AWS_ENDPOINT_URL_STS",
}

// Environment returns the variables of the nth container of a task. As at AWS, only a task with a role gets
// credentials; with them it gets the endpoints of the APIs that accept them.
func (e *Endpoint) Environment(t *task.Task, def *task.Definition, n int) map[string]string {
	name := e.secret.container(string(t.ID), n)
	env := map[string]string{
		"ECS_CONTAINER_METADATA_URI_V4": e.base + "/v4/" + name,
		"ECS_CONTAINER_METADATA_URI":    e.base + "/v3/" + name,
		"ECS_AGENT_URI":                 e.base + "/api/" + name,
		"AWS_EXECUTION_ENV":             "AWS_ECS_EC2",
		"AWS_REGION":                    t.Region,
		"AWS_DEFAULT_REGION":            t.Region,
	}
	if launchType(e.DB.Snapshot(), t) == task.Fargate {
		env["AWS_EXECUTION_ENV"] = "AWS_ECS_FARGATE"
	}
	if def.TaskRole == "" {
		return env
	}
	env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = e.base + "/v2/credentials/" + e.secret.credentials(string(t.ID))
	env["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = e.secret.token(string(t.ID))
	for _, variable := range endpoints {
		env[variable] = e.API
	}
	env["AWS_ENDPOINT_URL_SERVICEDISCOVERY"] = cmp.Or(e.Alias, e.API)
	if e.Alias == "" {
		env["AWS_DISABLE_HOST_PREFIX_INJECTION"] = "true"
	}
	return env
}

// launchType returns the launch type that a task reports: its own, otherwise its service's.
func launchType(r store.Reader, t *task.Task) string {
	launch := t.LaunchType
	if launch == "" && t.Service != "" {
		if svc, ok := task.FindServiceByKey(r, t.ServiceKey()); ok {
			launch = svc.LaunchType
		}
	}
	return cmp.Or(launch, task.EC2)
}

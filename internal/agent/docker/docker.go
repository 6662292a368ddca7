// Package docker runs ECS tasks as containers of the machine's Docker Engine.
package docker

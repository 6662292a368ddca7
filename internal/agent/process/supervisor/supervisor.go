// Package supervisor is the parent of all tasks of one data folder that run as processes. It is this same binary in
// another role, so that the server can be killed and come back while the tasks run on under the same pids.
//
//	server: process.Runtime ── DATA/supervisor.sock ── supervisor ── container-init ⇒ exec ⇒ the container's program
//
// Where to start reading: [Main] and [Run] (supervisor_linux.go), calls_linux.go (the calls of package protocol),
// clients_linux.go (connections), task_linux.go (what a task holds), container_linux.go (start, stop, end),
// adopt_linux.go (what an earlier supervisor left), wildcard_linux.go, resolver.go (private files), logwatch_linux.go.
//
// What it promises:
//
//   - A task's address (awsvpc: a loopback address out of 127.64.0.0/10) and its host ports belong to no other task of
//     any Rollcall on this machine, while the task exists and for [quarantine] after.
//   - A container runs at most once. Its end is reported after all its processes have ended, including those that moved
//     to another session.
//   - If the supervisor dies, the next one adopts the containers that run; only the exit codes of these stay unknown.
//   - A task that listens on 0.0.0.0 or [::] in awsvpc mode is killed, since it would answer for other tasks.
//
// It does not know clusters, services or the store, nor when to run a health check: the server decides, and the
// supervisor keeps the verdict for the next server. It ends when it has neither tasks nor clients. Linux only.
package supervisor

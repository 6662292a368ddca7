// Package procfs reads what the supervisor and the process runtime need from /proc: which processes belong to a
// container ([Processes]), whether a recorded process still exists ([Identity]), which sockets listen ([Sockets]), and
// what a container has used ([Measure]).
//
// All functions tolerate processes that end while /proc is read, and processes of other users that cannot be read. The
// package does not know tasks; a container is a session and a tag in the environment. Linux only.
package procfs

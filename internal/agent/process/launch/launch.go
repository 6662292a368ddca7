// Package launch turns a process of this machine into a container's program: with its user, resource limits, working
// directory, environment and private files such as /etc/resolv.conf.
//
// [Start] forks this same binary in the role container-init ([Init]), which receives an [Order] over a pipe, carries it
// out and executes the program. The caller learns the pid before the program may run, so that it can record the pid
// first: no program runs that a supervisor cannot find again. [Inside] starts a program in a running container, such as
// a health check, and avoids the detour through container-init where it can.
//
// The package does not know tasks, and does not wait for the processes that it starts: the caller passes a [Starter]
// that does. Linux only.
package launch

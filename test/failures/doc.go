// Package failures checks what the whole binary does when something goes wrong: processes that are killed, tasks that
// cannot run, requests and packets that no client sends, and servers that cannot start.
package failures

// Package addrlease leases the addresses and host ports that tasks use.
//
// It promises that no two tasks of any Rollcall on this machine have the same address or port, and that one which a
// task has released is not leased again while clients may still look for that task there: it rests first. The lock is
// a Unix socket, so a lease ends with its process; what rests is also kept in a file, so that the next process holds it
// again.
//
// Start reading at [Open], which returns a [Pool], and [Acquire]. The package knows groups of tasks only as names.
// Linux only.
package addrlease

import "errors"

// ErrTaken means that another process on this machine has the lease.
var ErrTaken = errors.New("taken by another task")

// PortRange is a range of ports that includes both ends.
type PortRange struct{ Low, High uint16 }

// Has reports whether a port is in the range.
func (r PortRange) Has(port uint16) bool { return r.Low <= port && port <= r.High }

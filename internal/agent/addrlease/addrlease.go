// Package addrlease holds the addresses and host ports that tasks use, so that no two tasks of any Rollcall on this machine
// have the same, and gives none out again while clients may still look there for the task that had it. Linux only.
package addrlease

import "errors"

// ErrTaken says that another process of this machine holds the lease.
var ErrTaken = errors.New("taken by another task")

// PortRange is a range of ports, both ends in it.
type PortRange struct{ Low, High uint16 }

// Has reports whether a port is in the range.
func (r PortRange) Has(port uint16) bool { return r.Low <= port && port <= r.High }

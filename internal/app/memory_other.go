//go:build !linux

package app

// machineMemory returns 0, unknown: no tasks run on this system.
func machineMemory() int { return 0 }

//go:build !linux

package app

// machineMemory is unknown here, where no tasks run.
func machineMemory() int { return 0 }

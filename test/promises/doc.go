// Package promises checks the promises that Rollcall makes (docs/architecture.md) with the whole binary: one file per
// promise, named after it.
package promises

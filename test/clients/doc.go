// Package clients runs the clients that people use with AWS against the whole binary, or makes their calls in their
// order: one file per client, named after it.
//
// A test that needs a program which go does not bring (scripts/setup-test.sh installs them) is skipped where that
// program is missing; with CI=true it fails instead.
package clients

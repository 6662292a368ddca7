// Package test holds what can only be tested from outside: the repository itself (imports that point down,
// documents whose links lead somewhere), the examples, and the whole binary.
//
// A test that needs a program which go does not bring (see scripts/setup-test.sh) says so and is skipped where
// that is missing; with CI=true it fails instead.
package test

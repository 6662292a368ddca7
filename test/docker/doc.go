// Package docker holds what can only be tested with the whole binary and a real Docker Engine: tasks that are
// containers, and how programs in them find names.
//
// Its tests are skipped where no engine answers (see scripts/setup-test.sh), and fail there with CI=true. They leave alone
// what the engine has of others, and remove what they have made, also what an earlier run has left that was killed.
package docker

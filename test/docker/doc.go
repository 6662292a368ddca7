// Package docker tests the whole binary with a real Docker Engine: tasks that are containers, and how programs in them
// resolve names.
//
// Its tests are skipped where no engine answers (scripts/setup-test.sh installs one); with CI=true they fail instead.
// They leave other objects of the engine alone, and remove what they create, including what an earlier run left when it
// was killed.
package docker

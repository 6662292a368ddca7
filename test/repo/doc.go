// Package repo checks the repository itself: which packages may import which, that every package has a comment and a
// place on the map in docs/architecture.md, that links in documents lead somewhere, and that the examples are valid.
package repo

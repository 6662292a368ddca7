// Package overlay replaces members of a stored request by the members of an update.
//
// A member that is absent from the update keeps its stored value.
package overlay

// Value replaces *to unless from is absent.
func Value[T any](to **T, from *T) {
	if from != nil {
		*to = from
	}
}

// List replaces *to unless from is absent. An empty list is present: it removes the stored items.
func List[T any](to *[]T, from []T) {
	if from != nil {
		*to = from
	}
}

// Package overlay replaces the members of a stored request by those of an update. A member that is absent from the
// update keeps its stored value.
package overlay

// Value replaces *stored by update unless update is nil.
func Value[T any](stored **T, update *T) {
	if update != nil {
		*stored = update
	}
}

// Plain replaces *stored, a member that is never absent, by *update unless update is nil.
func Plain[T any](stored *T, update *T) {
	if update != nil {
		*stored = *update
	}
}

// Enum replaces *stored by update unless update is empty.
func Enum[E ~string](stored *E, update E) {
	if update != "" {
		*stored = update
	}
}

// List replaces *stored by update unless update is nil. An empty list is not nil: it removes the stored items.
func List[T any](stored *[]T, update []T) {
	if update != nil {
		*stored = update
	}
}

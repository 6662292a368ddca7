package app

import (
	"slices"
	"sync"
)

// notes are problems that the operator should know and fix. `rollcall status` shows them.
type notes struct {
	mu    sync.Mutex
	texts []string
}

// note adds to the notes, and to the log.
func (a *App) note(text string) {
	a.log.Warn(text)
	a.notes.mu.Lock()
	defer a.notes.mu.Unlock()
	if !slices.Contains(a.notes.texts, text) {
		a.notes.texts = append(a.notes.texts, text)
	}
}

// currentNotes returns the notes of the server and of its runtime.
func (a *App) currentNotes() []string {
	a.notes.mu.Lock()
	texts := slices.Clone(a.notes.texts)
	a.notes.mu.Unlock()
	if a.runtime != nil {
		texts = append(texts, a.runtime.Notes()...)
	}
	return texts
}

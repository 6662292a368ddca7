package app

import (
	"slices"
	"sync"
)

// notes are what whoever runs this server should know, and do something about: `rollcall status` shows them.
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

// currentNotes are the notes, and what the runtime has to say now.
func (a *App) currentNotes() []string {
	a.notes.mu.Lock()
	texts := slices.Clone(a.notes.texts)
	a.notes.mu.Unlock()
	if a.runtime != nil {
		texts = append(texts, a.runtime.Notes()...)
	}
	return texts
}

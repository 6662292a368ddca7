package task

import (
	"fmt"
	"time"

	"github.com/bakingclouds/rollcall/internal/store"
)

// Event is an entry of a service's history.
type Event struct {
	ID      string
	Created time.Time
	Message string
}

// MaxEvents is the number of events that are kept of a service. ECS shows 100.
const MaxEvents = 100

// AddEvent adds an event to a service's history and deletes the oldest ones beyond MaxEvents. The stored message begins
// with the service's name.
func AddEvent(tx *store.Tx, svc *Service, e Event) {
	var keys []string
	events.Scan(tx.Snapshot(), svc.Ref().members(), "",
		func(key string, _ *Event) bool { keys = append(keys, key); return true })
	for len(keys) >= MaxEvents {
		events.Delete(tx, keys[0])
		keys = keys[1:]
	}
	e.Message = fmt.Sprintf("(service %s) %s", svc.Name, e.Message)
	events.Put(tx, eventKey(svc.Ref(), &e), &e)
}

// LastEvent returns the newest event of a service. ok is false if it has none.
func LastEvent(s *store.Snapshot, svc *Service) (last *Event, ok bool) {
	events.ScanReverse(s, svc.Ref().members(), "", func(_ string, e *Event) bool { last, ok = e, true; return false })
	return last, ok
}

// Events returns the events of a service, newest first.
func Events(r store.Reader, svc *Service) []*Event {
	var es []*Event
	events.Scan(r, svc.Ref().members(), "", func(_ string, e *Event) bool { es = append(es, e); return true })
	for i, j := 0, len(es)-1; i < j; i, j = i+1, j-1 {
		es[i], es[j] = es[j], es[i]
	}
	return es
}

package store

import (
	"encoding/json"
	"fmt"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	jsonv1 "github.com/go-json-experiment/json/v1"

	"github.com/bakingclouds/rollcall/internal/fault"
)

// Table is a typed view of one key prefix. Rows are JSON, so that `etcdctl get --prefix` stays a
// debugging tool. Rows that are read are shared: copy before changing one.
type Table[T any] struct {
	noun, prefix string
	counted      bool
	indexes      *[]indexer
}

// Schema is a table as [Open] wants it.
type Schema interface {
	keyPrefix() string
	decode([]byte) (any, error)
	traits() (counted bool, indexes []indexer)
}

// NewTable declares a table. prefix is its key prefix within the store and ends in "/"; noun is what
// errors call a row.
func NewTable[T any](noun, prefix string) Table[T] {
	return Table[T]{noun: noun, prefix: prefix, indexes: new([]indexer)}
}

// Counted makes Count available: how many rows share all of their id but what follows its last "/".
func (t Table[T]) Counted() Table[T] {
	t.counted = true
	return t
}

// Key is the full key of a row, as a Change carries it.
func (t Table[T]) Key(id string) string { return t.prefix + id }

// ID is the id of a row whose key a Change carries, and whether the key is of this table.
func (t Table[T]) ID(key string) (string, bool) { return strings.CutPrefix(key, t.prefix) }

func (t Table[T]) keyPrefix() string         { return t.prefix }
func (t Table[T]) traits() (bool, []indexer) { return t.counted, *t.indexes }

// decode reads what Put has written. Version 2 of encoding/json takes half the time and, because it keeps one copy
// of a short string that comes again and again, half the memory; of version 1's ways that Put relies on it lacks
// only the form of a duration.
func (t Table[T]) decode(b []byte) (any, error) {
	v := new(T)
	if err := jsonv2.Unmarshal(b, v, jsonv1.FormatDurationAsNano(true)); err != nil {
		return nil, fmt.Errorf("decode %s: %w", t.noun, err)
	}
	return v, nil
}

// Find returns a row, and whether there is one.
func (t Table[T]) Find(r Reader, id string) (*T, bool) {
	got, ok := r.get(t.prefix + id)
	if !ok {
		return nil, false
	}
	return got.val.(*T), true
}

// Get returns a row, or fault.NotFound naming it by its noun.
func (t Table[T]) Get(r Reader, id string) (*T, error) {
	if v, ok := t.Find(r, id); ok {
		return v, nil
	}
	return nil, fault.New(fault.NotFound, t.noun, "there is no %s %s", t.noun, id)
}

// Revision is the revision that wrote a row, 0 when there is none.
func (t Table[T]) Revision(r Reader, id string) int64 {
	got, _ := r.get(t.prefix + id)
	return got.mod
}

// Scan calls fn with the rows whose ids begin with under, in the order of their ids, until fn returns
// false. after, when not empty, is an id to begin behind.
func (t Table[T]) Scan(r Reader, under, after string, fn func(id string, v *T) bool) {
	from := t.prefix + under
	if after != "" {
		from = max(from, t.prefix+after+"\x00")
	}
	r.scan(t.prefix+under, from, func(key string, got row) bool {
		return fn(key[len(t.prefix):], got.val.(*T))
	})
}

// ScanReverse calls fn with the rows whose ids begin with under, in the reverse order of their ids, until fn
// returns false. before, when not empty, is an id to begin in front of.
func (t Table[T]) ScanReverse(s *Snapshot, under, before string, fn func(id string, v *T) bool) {
	from := t.prefix + under + "\xff" // behind every id: keys are UTF-8
	if before != "" {
		from = min(from, t.prefix+before)
	}
	s.rows.byKey.Descend(from, func(key string, got row) bool {
		if key == from {
			return true // before itself
		}
		return strings.HasPrefix(key, t.prefix+under) && fn(key[len(t.prefix):], got.val.(*T))
	})
}

// Empty reports whether no row's id begins with under.
func (t Table[T]) Empty(r Reader, under string) bool {
	empty := true
	t.Scan(r, under, "", func(string, *T) bool { empty = false; return false })
	return empty
}

// Count is the number of rows whose id is parent, "/" and a last part. The table must be Counted. A
// transaction does not compare it.
func (t Table[T]) Count(r Reader, parent string) int { return r.count(t.prefix + parent) }

// Put writes a row. v belongs to the store from then on.
func (t Table[T]) Put(tx *Tx, id string, v *T) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("store: encode %s %s: %v", t.noun, id, err)) // rows are plain data
	}
	tx.put(t.prefix+id, v, b)
}

// Delete removes a row; none there is no error.
func (t Table[T]) Delete(tx *Tx, id string) { tx.put(t.prefix+id, nil, nil) }

// SweepAction is what [Table.Sweep] does with a row.
type SweepAction int

// The fates of a row.
const (
	SweepKeep SweepAction = iota
	SweepDelete
	SweepStop // this row and all behind it
)

// Sweep deletes up to limit rows whose ids begin with under, as judge says, and reports whether it stopped
// at the limit. Rows are judged as the transaction found them and not compared: what is swept is final.
func (t Table[T]) Sweep(tx *Tx, under string, limit int, judge func(v *T) SweepAction) (more bool) {
	var doomed []string
	t.Scan(tx.Snapshot(), under, "", func(id string, v *T) bool {
		switch judge(v) {
		case SweepStop:
			return false
		case SweepDelete:
			if more = len(doomed) == limit; more {
				return false
			}
			doomed = append(doomed, id)
		}
		return true
	})
	for _, id := range doomed {
		t.Delete(tx, id)
	}
	return more
}

// Index finds the rows of a table by a value computed from each: one value or none ("") a row.
type Index[T any] struct {
	table Table[T]
	name  string
}

type indexer struct {
	name  string
	value func(id string, row any) string
}

// NewIndex declares an index of t. The mirror keeps it; etcd does not know it.
func NewIndex[T any](t Table[T], name string, value func(id string, v *T) string) Index[T] {
	*t.indexes = append(*t.indexes, indexer{name: t.prefix + name, value: func(id string, v any) string { return value(id, v.(*T)) }})
	return Index[T]{table: t, name: t.prefix + name}
}

// Scan calls fn with the rows of that value, in the order of their ids, until fn returns false. Inside a
// transaction the rows found are compared at commit, but a row that joins meanwhile goes unnoticed, and
// rows written in the same transaction are not seen.
func (x Index[T]) Scan(r Reader, value string, fn func(id string, v *T) bool) {
	under := x.name + "\x00" + value + "\x00"
	r.scanIndex(under, func(key string, got row) bool {
		id := key[len(under):]
		r.note(x.table.prefix+id, got.mod)
		return fn(id, got.val.(*T))
	})
}

// schema finds the table of a key and keeps indexes and counts.
type schema struct{ tables map[string]tableTraits }

type tableTraits struct {
	Schema
	counted bool
	indexes []indexer
}

// newSchema finds tables by their prefixes: "noun/" or "domain/noun/", none of them a prefix of another.
func newSchema(tables []Schema) schema {
	s := schema{tables: map[string]tableTraits{}}
	for _, t := range tables {
		counted, indexes := t.traits()
		s.tables[t.keyPrefix()] = tableTraits{t, counted, indexes}
	}
	return s
}

func (s schema) table(key string) (tableTraits, bool) {
	for i := 0; ; {
		n := strings.IndexByte(key[i:], '/')
		if n < 0 {
			return tableTraits{}, false
		}
		i += n + 1
		if t, ok := s.tables[key[:i]]; ok {
			return t, true
		}
	}
}

// set changes one row of the mirror with its indexes and counts.
func (s schema) set(tree rows, rc RowChange) {
	t, ok := s.table(rc.Key)
	if !ok {
		return
	}
	id := rc.Key[len(t.keyPrefix()):]
	for _, x := range t.indexes {
		if rc.Old != nil {
			if v := x.value(id, rc.Old); v != "" {
				tree.index.Delete(x.name + "\x00" + v + "\x00" + id)
			}
		}
		if rc.New != nil {
			if v := x.value(id, rc.New); v != "" {
				tree.index.Set(x.name+"\x00"+v+"\x00"+id, row{rc.Revision, rc.New})
			}
		}
	}
	if t.counted && (rc.Old == nil) != (rc.New == nil) {
		parent := rc.Key[:strings.LastIndexByte(rc.Key, '/')]
		n, _ := tree.counts.Get(parent)
		if rc.New != nil {
			n++
		} else {
			n--
		}
		if n == 0 {
			tree.counts.Delete(parent)
		} else {
			tree.counts.Set(parent, n)
		}
	}
	if rc.New == nil {
		tree.byKey.Delete(rc.Key)
	} else {
		tree.byKey.Load(rc.Key, row{rc.Revision, rc.New}) // as Set, but rows that come in order, as at a start, leave full nodes
	}
}

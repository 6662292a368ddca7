// Package loggroup stores the rows of Amazon CloudWatch Logs: log groups with their retentions and tags.
//
// It does not know log streams and log events. These are files on the node that ran the task (package containerlog).
// Its rules come from the Amazon CloudWatch Logs API Reference.
package loggroup

import (
	"maps"
	"regexp"
	"time"

	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/fault"
	"github.com/bakingclouds/rollcall/internal/store"
)

// Group is a log group.
type Group struct {
	Account, Region string
	Name            string
	Created         time.Time
	// Retention is the number of days for which events are kept; 0 means until the node needs the space.
	Retention int               `json:",omitempty"`
	Class     string            `json:",omitempty"` // only returned, as is KMSKey
	KMSKey    string            `json:",omitempty"`
	Tags      map[string]string `json:",omitempty"`
}

var groups = store.NewTable[Group]("log group", "logs/group/") // region/name

// Schema lists the tables for store.Open.
func Schema() []store.Schema { return []store.Schema{groups} }

// MaxTags is the largest number of tags of a group.
const MaxTags = 50

// Retentions are the valid retentions in days (PutRetentionPolicy).
var Retentions = []int{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
	3288, 3653}

var namePattern = regexp.MustCompile(`^[.\-_/#A-Za-z0-9]{1,512}$`)

// ValidName reports whether name is a valid name of a group.
func ValidName(name string) bool { return namePattern.MatchString(name) }

// ARN returns the ARN of the group, without the suffix ":*" for its streams.
func (g *Group) ARN() string {
	return arn.New("logs", g.Region, g.Account, "log-group:"+g.Name).String()
}

// key returns the key of a group's row.
func key(sc arn.Scope, name string) string { return sc.Key(name) }

func put(tx *store.Tx, g *Group) {
	groups.Put(tx, key(arn.Scope{Account: g.Account, Region: g.Region}, g.Name), g)
}

func notFound() error {
	return fault.New(fault.NotFound, "log group", "The specified log group does not exist.")
}

// Get returns a group, or a NotFound error.
func Get(r store.Reader, sc arn.Scope, name string) (*Group, error) {
	if g, ok := groups.Find(r, key(sc, name)); ok {
		return g, nil
	}
	return nil, notFound()
}

// Create adds a group, or returns an Exists error.
func Create(tx *store.Tx, sc arn.Scope, g Group, now time.Time) error {
	if _, err := Get(tx, sc, g.Name); err == nil {
		return fault.New(fault.Exists, "log group", "The specified log group already exists")
	}
	if len(g.Tags) > MaxTags {
		return tooManyTags()
	}
	g.Account, g.Region, g.Created = sc.Account, sc.Region, now
	put(tx, &g)
	return nil
}

// Delete deletes a group. Its events are no longer visible.
func Delete(tx *store.Tx, sc arn.Scope, name string) error {
	g, err := Get(tx, sc, name)
	if err == nil {
		groups.Delete(tx, key(sc, g.Name))
	}
	return err
}

// Retain sets the retention of a group in days, 0 for none.
func Retain(tx *store.Tx, sc arn.Scope, name string, days int) error {
	old, err := Get(tx, sc, name)
	if err != nil {
		return err
	}
	g := *old
	g.Retention = days
	put(tx, &g)
	return nil
}

// Tag sets the tags of add and then deletes the tags with the keys of remove.
func Tag(tx *store.Tx, sc arn.Scope, name string, add map[string]string, remove []string) error {
	old, err := Get(tx, sc, name)
	if err != nil {
		return err
	}
	g := *old
	g.Tags = maps.Clone(old.Tags)
	if g.Tags == nil {
		g.Tags = map[string]string{}
	}
	maps.Copy(g.Tags, add)
	for _, key := range remove {
		delete(g.Tags, key)
	}
	if len(g.Tags) > MaxTags {
		return tooManyTags()
	}
	put(tx, &g)
	return nil
}

func tooManyTags() error {
	return fault.New(fault.Limit, "tags", "A log group can have %d tags.", MaxTags)
}

// Scan calls fn with the groups of a region whose names begin with prefix and are greater than after, in the order of
// their names, until fn returns false.
func Scan(r store.Reader, sc arn.Scope, prefix, after string, fn func(*Group) bool) {
	if after != "" {
		after = key(sc, after)
	}
	groups.Scan(r, key(sc, prefix), after, func(_ string, g *Group) bool { return fn(g) })
}

// VisibleFrom returns the time of the oldest events that the group can show, in Unix milliseconds: its creation or the
// start of its retention, whichever is later.
func (g *Group) VisibleFrom(now time.Time) int64 {
	from := g.Created.UnixMilli()
	if g.Retention > 0 {
		from = max(from, now.AddDate(0, 0, -g.Retention).UnixMilli())
	}
	return from
}

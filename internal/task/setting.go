package task

import (
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/store"
)

var settings = store.NewTable[Setting]("account setting", "task/setting/") // region/name/principal

// Setting is an account setting that was changed for a principal: the account itself, or one of its users or
// roles.
type Setting struct {
	Account, Region string
	Name            string
	Principal       string // its ARN
	Value           string
}

func settingKey(sc arn.Scope, name, principal string) string {
	return sc.Region + "/" + name + "/" + principal
}

// PutSetting writes an account setting.
func PutSetting(tx *store.Tx, s Setting) {
	settings.Put(tx, settingKey(arn.Scope{Account: s.Account, Region: s.Region}, s.Name, s.Principal), &s)
}

// FindSetting finds what was set for a principal.
func FindSetting(r store.Reader, sc arn.Scope, name, principal string) (*Setting, bool) {
	return settings.Find(r, settingKey(sc, name, principal))
}

// DeleteSetting forgets what was set for a principal.
func DeleteSetting(tx *store.Tx, sc arn.Scope, name, principal string) {
	settings.Delete(tx, settingKey(sc, name, principal))
}

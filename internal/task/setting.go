package task

import (
	"github.com/bakingclouds/rollcall/internal/arn"
	"github.com/bakingclouds/rollcall/internal/store"
)

var settings = store.NewTable[Setting]("account setting", "task/setting/") // region/name/principal

// Setting is the value of an account setting for a principal: the account itself, or one of its users or roles.
type Setting struct {
	Account, Region string
	Name            string
	Principal       string // its ARN
	Value           string
}

// SettingRef names an account setting of a principal.
type SettingRef struct {
	arn.Scope
	Name      string
	Principal string // its ARN
}

// Key returns the key of the setting's row.
func (s SettingRef) Key() string { return s.Scope.Key(s.Name, s.Principal) }

// Ref returns the reference of the setting.
func (s *Setting) Ref() SettingRef {
	return SettingRef{arn.Scope{Account: s.Account, Region: s.Region}, s.Name, s.Principal}
}

// PutSetting writes an account setting.
func PutSetting(tx *store.Tx, s Setting) { settings.Put(tx, s.Ref().Key(), &s) }

// FindSetting returns the value that was set for a principal, if any.
func FindSetting(r store.Reader, ref SettingRef) (*Setting, bool) { return settings.Find(r, ref.Key()) }

// DeleteSetting deletes the value that was set for a principal.
func DeleteSetting(tx *store.Tx, ref SettingRef) { settings.Delete(tx, ref.Key()) }

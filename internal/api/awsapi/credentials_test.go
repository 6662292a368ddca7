package awsapi_test

import (
	"testing"
	"time"

	"github.com/bakingclouds/rollcall/internal/api/awsapi"
)

func TestReadOnlyOf(t *testing.T) {
	root := awsapi.Pair{AccessKeyID: "AKIAROOT", Secret: "root/secret+1", Role: awsapi.Administrator}
	pair, err := awsapi.ReadOnlyOf(root)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := awsapi.ReadOnlyOf(root); again != pair {
		t.Errorf("ReadOnlyOf returns %v first and then %v for the same root pair", pair, again)
	}
	other := root
	other.Secret += "x"
	if p, _ := awsapi.ReadOnlyOf(other); p == pair {
		t.Error("two root secrets have the same read-only pair")
	}
	keys, err := awsapi.NewKeys(root, pair)
	if err != nil {
		t.Fatal(err)
	}
	c, err := keys.Lookup(pair.AccessKeyID, "", time.Now())
	if err != nil || c.Role != awsapi.ReadOnly || c.Secret != pair.Secret || len(pair.AccessKeyID) != 20 ||
		len(pair.Secret) != 40 {
		t.Errorf("Lookup of %+v = %+v, %v", pair, c, err)
	}
}

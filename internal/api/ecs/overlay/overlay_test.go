package overlay

import (
	"slices"
	"testing"
)

func TestValue(t *testing.T) {
	one, two := 1, 2
	stored := &one
	if Value(&stored, nil); stored != &one {
		t.Error("an absent member replaced the stored one")
	}
	if Value(&stored, &two); stored != &two {
		t.Error("a member did not replace the stored one")
	}
}

func TestPlain(t *testing.T) {
	stored, off := true, false
	if Plain(&stored, nil); !stored {
		t.Error("an absent member replaced the stored one")
	}
	if Plain(&stored, &off); stored {
		t.Error("a member did not replace the stored one")
	}
}

func TestEnum(t *testing.T) {
	stored := "ENABLED"
	if Enum(&stored, ""); stored != "ENABLED" {
		t.Error("an absent member replaced the stored one")
	}
	if Enum(&stored, "DISABLED"); stored != "DISABLED" {
		t.Error("a member did not replace the stored one")
	}
}

func TestList(t *testing.T) {
	stored := []int{1}
	if List(&stored, nil); !slices.Equal(stored, []int{1}) {
		t.Error("an absent list replaced the stored one")
	}
	if List(&stored, []int{2, 3}); !slices.Equal(stored, []int{2, 3}) {
		t.Error("a list did not replace the stored one")
	}
	if List(&stored, []int{}); len(stored) != 0 {
		t.Error("an empty list did not remove the stored items")
	}
}

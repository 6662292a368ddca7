package paging

import (
	"slices"
	"testing"
)

func TestToken(t *testing.T) {
	token := Token("ListServices", "us-east-1/web")
	for _, tc := range []struct {
		name, operation, token, want string
		ok                           bool
	}{
		{"first page", "ListServices", "", "", true},
		{"token of the operation", "ListServices", token, "us-east-1/web", true},
		{"empty key", "ListServices", Token("ListServices", ""), "", true},
		{"token of another operation", "ListTasks", token, "", false},
		{"operation with the same prefix", "ListServicesByNamespace", token, "", false},
		{"truncated", "ListServices", token[:len(token)-2], "", false},
		{"not base64", "ListServices", "!", "", false},
		{"too short", "ListServices", "AAA", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := After(tc.operation, tc.token)
			if ok != tc.ok || ok && got != tc.want {
				t.Errorf("After(%q, %q) = %q, %v; want %q, %v", tc.operation, tc.token, got, ok, tc.want, tc.ok)
			}
		})
	}
}

// TestPages reads a list page by page while the item that a token names is deleted.
func TestPages(t *testing.T) {
	items := []string{"a", "b", "c", "d", "e"}
	scan := func(after string, fn func(string) bool) {
		for _, item := range items {
			if item > after && !fn(item) {
				return
			}
		}
	}
	var pages [][]string
	for token := ""; ; {
		after, ok := After("List", token)
		if !ok {
			t.Fatalf("After(%q): not ok", token)
		}
		page := New[string](2)
		scan(after, func(item string) bool { return page.Add(item, item) })
		pages = append(pages, page.Items)
		next := page.Next("List")
		if next == nil {
			break
		}
		token = *next
		items = slices.DeleteFunc(items, func(item string) bool { return item == "b" })
	}
	want := [][]string{{"a", "b"}, {"c", "d"}, {"e"}}
	if !slices.EqualFunc(pages, want, slices.Equal) {
		t.Errorf("pages = %v, want %v", pages, want)
	}
}

func TestEmptyPage(t *testing.T) {
	page := New[string](1)
	if page.Items == nil || page.Next("List") != nil {
		t.Errorf("page of an empty list has items %v and token %v, want no items and no token", page.Items,
			page.Next("List"))
	}
}

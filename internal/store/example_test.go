package store_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/store/storetest"
)

// book is a row. Its table and its index are declared next to it.
type book struct {
	Title  string
	Author string
	Copies int
}

var (
	books         = store.NewTable[book]("book", "example/book/")
	booksByAuthor = store.NewIndex(books, "author", func(_ string, b *book) string { return b.Author })
)

// lend removes one copy of a book from the shelf. It reads and writes only through its transaction, so that it can run
// again after a conflict.
func lend(ctx context.Context, db *store.Store, id string) (left int, err error) {
	return store.Update(ctx, db, func(tx *store.Tx) (int, error) {
		b, err := books.Get(tx, id)
		if err != nil {
			return 0, err
		}
		if b.Copies == 0 {
			return 0, errors.New("every copy is lent")
		}
		changed := *b // rows are shared, so change a copy
		changed.Copies--
		books.Put(tx, id, &changed)
		return changed.Copies, nil
	})
}

func Example() {
	db, closeDB := storetest.OpenTemporary(books)
	defer closeDB()
	ctx := context.Background()

	// A follower sees the current state first, and then every revision in order.
	db.Follow(func(c store.Change) {
		for _, r := range c.Rows {
			id, _ := books.ID(r.Key)
			fmt.Printf("change: %s has %d copies\n", id, r.New.(*book).Copies)
		}
	}, books)

	_, err := store.Update(ctx, db, func(tx *store.Tx) (struct{}, error) {
		books.Put(tx, "tortoise", &book{Title: "The Tortoise and the Hare", Author: "Aesop", Copies: 2})
		return struct{}{}, nil
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	before := db.Snapshot()
	left, err := lend(ctx, db, "tortoise")
	fmt.Println("left:", left, err)
	_, err = lend(ctx, db, "fox")
	fmt.Println("error:", err)

	// A snapshot never changes. What Update has written is in every later snapshot.
	b, _ := books.Find(before, "tortoise")
	fmt.Println("before:", b.Copies)
	booksByAuthor.Scan(db.Snapshot(), "Aesop", func(id string, b *book) bool {
		fmt.Printf("now: %s has %d copies\n", id, b.Copies)
		return true
	})

	// Output:
	// change: tortoise has 2 copies
	// change: tortoise has 1 copies
	// left: 1 <nil>
	// error: book: book fox does not exist
	// before: 2
	// now: tortoise has 1 copies
}

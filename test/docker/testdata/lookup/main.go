// Command lookup looks names up with Go's own resolver. For each it prints "MILLISECONDS NAME ADDRESS…", or the error
// in the place of the addresses.
package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

func main() {
	for _, name := range os.Args[1:] {
		from := time.Now()
		addrs, err := net.LookupHost(name)
		took := time.Since(from).Milliseconds()
		if err != nil {
			addrs = []string{err.Error()}
		}
		fmt.Println(took, name, strings.Join(addrs, " "))
	}
}

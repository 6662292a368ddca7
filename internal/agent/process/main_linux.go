package process

import (
	"flag"
	"fmt"
	"os"
)

// Main plays the hidden role that args name, if they do: "supervise --dir DIR" or "container-init". It is to be called
// first thing in main, so that a role costs little; ok is false when args are not for it.
func Main(args []string) (status int, ok bool) {
	if len(args) == 0 {
		return 0, false
	}
	switch args[0] {
	case initRole:
		return containerInit(), true
	case superviseRole:
		flags := flag.NewFlagSet("rollcall "+superviseRole, flag.ContinueOnError)
		dir := flags.String("dir", "", "the data `folder` whose tasks are supervised")
		if err := flags.Parse(args[1:]); err != nil || *dir == "" {
			fmt.Fprintln(os.Stderr, "rollcall supervise: give the data folder with --dir DIR")
			return 2, true
		}
		if err := Supervise(*dir); err != nil {
			fmt.Fprintln(os.Stderr, "rollcall supervise:", err)
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

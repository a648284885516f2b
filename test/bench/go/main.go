// The bench's programs in one binary: the load, an upstream as fast as a program can be, and both ends of Rancher's remotedialer.
// Load and upstream are Go, as kubectl and the apiserver are, so that neither is what is measured.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fail("usage: bench get|bulk|watch|echo|stall|tcp|upstream|remotedialer-server|remotedialer-client FLAGS")
	}
	commands := map[string]func([]string){
		"get":                 runGet,
		"bulk":                runBulk,
		"watch":               runWatch,
		"echo":                runEcho,
		"stall":               runStall,
		"tcp":                 runTCP,
		"upstream":            runUpstream,
		"remotedialer-server": runDialerServer,
		"remotedialer-client": runDialerClient,
	}
	command, ok := commands[os.Args[1]]
	if !ok {
		fail("unknown command %s", os.Args[1])
	}
	if !servers[os.Args[1]] {
		time.AfterFunc(patience, func() { fail("no end within %s", patience) })
	}
	command(os.Args[2:])
}

// patience is how long a load may take: one that hangs is a result, and must not hold up the others.
const patience = time.Minute

var servers = map[string]bool{"upstream": true, "remotedialer-server": true, "remotedialer-client": true}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

func must(err error) {
	if err != nil {
		fail("%v", err)
	}
}

// say prints one line of JSON: what a program tells the one that started it.
func say(value any) {
	line, err := json.Marshal(value)
	must(err)
	fmt.Println(string(line))
}

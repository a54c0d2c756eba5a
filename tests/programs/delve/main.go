// Something for a debugger to stop in: prints the host name through a function of its own.
package main

import (
	"fmt"
	"os"
)

//go:noinline
func describe(name string) string {
	return "host " + name
}

func main() {
	name, err := os.Hostname()
	if err != nil {
		panic(err)
	}
	fmt.Println(describe(name))
}

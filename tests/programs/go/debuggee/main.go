// Debuggee asks for the host name in a function of its own, for a debugger to stop in.
package main

import (
	"fmt"
	"os"
)

//go:noinline
func Show(host string) {
	fmt.Println("host", host)
}

func main() {
	host, err := os.Hostname()
	if err != nil {
		panic(err)
	}
	Show(host)
}

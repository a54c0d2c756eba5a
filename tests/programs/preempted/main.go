// Preempted opens one file while the runtime preempts its threads with signals as fast as it can, and prints
// the file's first line. Argument: PATH.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
)

func main() {
	var done atomic.Bool
	for range 2 {
		// A loop without calls can only be stopped by SIGURG, and each collection stops all threads.
		go func() {
			for number := 0; !done.Load(); number++ {
			}
		}()
	}
	go func() {
		for !done.Load() {
			runtime.GC()
		}
	}()
	file, err := os.Open(os.Args[1])
	done.Store(true)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	line, _, _ := bufio.NewReader(file).ReadLine()
	fmt.Println(string(line))
}

// Starts COUNT connections to HOST PORT together and prints how many succeeded.
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
)

func main() {
	count, err := strconv.Atoi(os.Args[3])
	if err != nil {
		panic(err)
	}
	var good atomic.Int64
	var all sync.WaitGroup
	for range make([]struct{}, count) {
		all.Add(1)
		go func() {
			defer all.Done()
			if connection, err := net.Dial("tcp", net.JoinHostPort(os.Args[1], os.Args[2])); err == nil {
				good.Add(1)
				defer connection.Close()
			} else {
				fmt.Fprintln(os.Stderr, err)
			}
		}()
	}
	all.Wait()
	fmt.Println(good.Load())
}

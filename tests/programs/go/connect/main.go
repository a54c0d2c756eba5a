// Connect opens COUNT connections at once and prints how many ended in which way.
// Arguments: HOST PORT TIMEOUT-IN-MS COUNT.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sort"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func outcome(err error) string {
	var number syscall.Errno
	var network net.Error
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused ECONNREFUSED"
	case errors.As(err, &number):
		return "error " + number.Error()
	case errors.As(err, &network) && network.Timeout():
		return "timeout"
	}
	return "error " + err.Error()
}

func main() {
	address := net.JoinHostPort(os.Args[1], os.Args[2])
	timeout, _ := strconv.Atoi(os.Args[3])
	count, _ := strconv.Atoi(os.Args[4])
	outcomes := map[string]int{}
	var lock sync.Mutex
	var all sync.WaitGroup
	for range count {
		all.Add(1)
		go func() {
			defer all.Done()
			_, err := net.DialTimeout("tcp", address, time.Duration(timeout)*time.Millisecond)
			lock.Lock()
			defer lock.Unlock()
			outcomes[outcome(err)]++
		}()
	}
	all.Wait()
	lines := []string{}
	for text, times := range outcomes {
		lines = append(lines, fmt.Sprintf("%s: %d", text, times))
	}
	sort.Strings(lines)
	for _, line := range lines {
		fmt.Println(line)
	}
}

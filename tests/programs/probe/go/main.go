// Connects once: HOST PORT TIMEOUT_SECONDS. Prints ok, refused, timeout or another error's name.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

func outcome(err error) string {
	var timeout net.Error
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	}
	return err.Error()
}

func main() {
	seconds, err := strconv.ParseFloat(os.Args[3], 64)
	if err != nil {
		panic(err)
	}
	patience := time.Duration(seconds * float64(time.Second))
	_, err = net.DialTimeout("tcp", net.JoinHostPort(os.Args[1], os.Args[2]), patience)
	fmt.Println(outcome(err))
}

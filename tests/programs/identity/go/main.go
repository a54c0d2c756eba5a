// Prints what this program sees of its pod, with Go's own resolver.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

const host = "echo.default.svc.cluster.local"

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func main() {
	config := must(os.Open("/app/config.yaml"))
	lines := bufio.NewScanner(config)
	lines.Scan()
	addresses := must(net.DefaultResolver.LookupIP(context.Background(), "ip4", host))
	response := must(http.Get("http://" + host + "/bytes?n=16"))
	body := must(io.ReadAll(response.Body))
	fmt.Printf("greeting=%s\nhostname=%s\nconfig=%s\necho=%s\nanswer=%x\n",
		os.Getenv("GREETING"), must(os.Hostname()), lines.Text(), addresses[0], body)
}

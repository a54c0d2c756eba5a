// Prints what this program sees of its pod, with Go's own resolver; of each file that is named, else of one, the first line.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
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
	files := os.Args[1:]
	if len(files) == 0 {
		files = []string{"/app/config.yaml"}
	}
	config := ""
	for _, file := range files {
		line, err := bufio.NewReader(must(os.Open(file))).ReadString('\n')
		if err != io.EOF {
			must(line, err)
		}
		config += "config=" + strings.TrimSuffix(line, "\n") + "\n"
	}
	addresses := must(net.DefaultResolver.LookupIP(context.Background(), "ip4", host))
	response := must(http.Get("http://" + host + "/bytes?n=16"))
	body := must(io.ReadAll(response.Body))
	fmt.Printf("greeting=%s\nhostname=%s\n%secho=%s\nanswer=%x\n",
		os.Getenv("GREETING"), must(os.Hostname()), config, addresses[0], body)
}

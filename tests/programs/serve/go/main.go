// A server that prints who asks for what.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

func main() {
	serve := func(answer http.ResponseWriter, request *http.Request) {
		size, _ := io.Copy(io.Discard, request.Body)
		host, _, _ := net.SplitHostPort(request.RemoteAddr)
		fmt.Println(os.Getpid(), host, request.Method, request.RequestURI, size)
		fmt.Fprintln(answer, "local")
	}
	panic(http.ListenAndServe(":8080", http.HandlerFunc(serve)))
}

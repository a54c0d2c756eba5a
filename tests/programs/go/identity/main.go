// Identity prints what the machine looks like that it runs on: `name=value` a line, `-` for what is not there.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"sort"
	"strings"
)

const name = "echo.default.svc.cluster.local"

func environment(variable string) string {
	if value, ok := os.LookupEnv(variable); ok {
		return value
	}
	return "-"
}

func hostname() string {
	host, err := os.Hostname()
	if err != nil {
		return "-"
	}
	return host
}

func config() string {
	file, err := os.Open("/app/config.yaml")
	if err != nil {
		return "-"
	}
	defer file.Close()
	line, err := bufio.NewReader(file).ReadString('\n')
	if err != nil && line == "" {
		return "-"
	}
	return strings.TrimRight(line, "\n")
}

func addresses(host string) string {
	found, err := net.DefaultResolver.LookupIP(context.Background(), "ip4", host)
	if err != nil {
		return "-"
	}
	texts := make([]string, 0, len(found))
	for _, address := range found {
		texts = append(texts, address.String())
	}
	sort.Strings(texts)
	return strings.Join(texts, " ")
}

func answer() string {
	response, err := http.Get("http://" + name + "/")
	if err != nil {
		return "-"
	}
	defer response.Body.Close()
	var seen struct {
		Service string
		Peer    struct{ Host string }
	}
	if json.NewDecoder(response.Body).Decode(&seen) != nil {
		return "-"
	}
	return seen.Service + " saw " + seen.Peer.Host
}

func main() {
	fmt.Printf("greeting=%s\n", environment("GREETING"))
	fmt.Printf("hostname=%s\n", hostname())
	fmt.Printf("config=%s\n", config())
	fmt.Printf("echo=%s\n", addresses(name))
	fmt.Printf("short=%s\n", addresses("echo"))
	fmt.Printf("answer=%s\n", answer())
}

// Prints what a program sees of where it runs: nothing in it knows of mirrord.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

const (
	file = "/app/config.yaml"
	name = "echo.default.svc.cluster.local"
	page = "http://echo/"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	show("host name", hostName)
	show("$GREETING", greeting)
	show(file, firstLine)
	show(name, func() (string, error) { return address(ctx) })
	show(page, func() (string, error) { return answer(ctx) })
}

func show(what string, find func() (string, error)) {
	found, err := find()
	if err != nil {
		found = "-  (" + cause(err).Error() + ")"
	}
	fmt.Printf("  %-31s %.45s\n", what, found)
}

func cause(err error) error {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return errors.New(dns.Err)
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

func hostName() (string, error) { return os.Hostname() }

func greeting() (string, error) {
	if value, ok := os.LookupEnv("GREETING"); ok {
		return value, nil
	}
	return "", errors.New("not set")
}

func firstLine() (string, error) {
	opened, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer opened.Close()
	lines := bufio.NewScanner(opened)
	lines.Scan()
	return lines.Text(), lines.Err()
}

func address(ctx context.Context) (string, error) {
	found, err := net.DefaultResolver.LookupIP(ctx, "ip4", name)
	if err != nil {
		return "", err
	}
	return found[0].String(), nil
}

func answer(ctx context.Context) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var said struct{ Server, Peer string }
	if err := json.NewDecoder(response.Body).Decode(&said); err != nil {
		return "", err
	}
	return said.Server + " answers " + said.Peer, nil
}

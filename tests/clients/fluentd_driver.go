// Sends records as Docker's `fluentd` log driver does: fluentd_driver ADDRESS[?request-ack&sub-second-precision] FILE
//
// It uses the driver's own client library, fluent-logger-golang, with the driver's settings and the driver's record: a map
// of `container_id`, `container_name`, `source` and `log`. ADDRESS is HOST:PORT or the path of a Unix socket. FILE has one
// JSON object a line, {"category": .., "body_base64": ..}; the category is the tag. What follows the address is
// the driver's options `fluentd-request-ack`, with which it prints `acked N` for each, from 0, once it is acknowledged, else
// `sent N`; and `fluentd-sub-second-precision`, which is EventTime instead of seconds.
//
// Built without modules, from Debian's golang-github-fluent-fluent-logger-golang-dev:
// GO111MODULE=off GOPATH=/usr/share/gocode go build fluentd_driver.go
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/fluent/fluent-logger-golang/fluent"
)

type record struct {
	Category string `json:"category"`
	Body     string `json:"body_base64"`
}

func main() {
	address, options, _ := strings.Cut(os.Args[1], "?")
	requestAck := strings.Contains(options, "request-ack")
	config := fluent.Config{
		BufferLimit:        1024 * 1024,
		RetryWait:          100,
		MaxRetry:           1 << 30,
		MaxRetryWait:       1000,
		RequestAck:         requestAck,
		SubSecondPrecision: strings.Contains(options, "sub-second-precision"),
		// How long an acknowledgement may take.
		Timeout: 10 * time.Second,
	}
	if host, port, err := net.SplitHostPort(address); err == nil {
		config.FluentNetwork, config.FluentHost = "tcp", host
		config.FluentPort, _ = strconv.Atoi(port)
	} else {
		config.FluentNetwork, config.FluentSocketPath = "unix", address
	}
	logger := check(fluent.New(config))
	file := check(os.Open(os.Args[2]))
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for n := 0; lines.Scan(); n++ {
		var wanted record
		if err := json.Unmarshal(lines.Bytes(), &wanted); err != nil {
			panic(err)
		}
		data := map[string]string{
			"container_id":   "8f2c1a",
			"container_name": "/shop",
			"source":         "stdout",
			"log":            string(check(base64.StdEncoding.DecodeString(wanted.Body))),
		}
		for {
			err := logger.PostWithTime(wanted.Category, time.Now(), data)
			if err == nil {
				break
			}
			// The driver loses the record; who must not lose it asks again.
			fmt.Fprintln(os.Stderr, err)
			time.Sleep(100 * time.Millisecond)
		}
		if requestAck {
			fmt.Println("acked", n)
		} else {
			fmt.Println("sent", n)
		}
	}
	logger.Close()
}

func check[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

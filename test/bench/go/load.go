package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// The channels of a pod's exec (Kubernetes' remotecommand, v5).
const (
	channelStdin  = 0
	channelStdout = 1
	channelStatus = 3
	channelClose  = 255
)

// What kubectl's io.Copy gives to one message.
const messageBytes = 32 << 10

func runGet(args []string) {
	var t target
	set := flag.NewFlagSet("get", flag.ExitOnError)
	t.flags(set)
	path := set.String("path", "", "what to get")
	workers := set.Int("n", 1, "requests at once")
	seconds := set.Float64("seconds", 1, "how long to measure")
	warm := set.Float64("warm", 0.3, "seconds before")
	must(set.Parse(args))
	client := t.client()
	begin := time.Now().Add(time.Duration(*warm * float64(time.Second)))
	end := begin.Add(time.Duration(*seconds * float64(time.Second)))
	var group sync.WaitGroup
	results := make([][]float64, *workers)
	var total atomic.Int64
	for index := range *workers {
		group.Go(func() {
			for {
				started := time.Now()
				if started.After(end) {
					return
				}
				getOnce(client, t.request("GET", *path, nil))
				total.Add(1)
				if finished := time.Now(); started.After(begin) && finished.Before(end) {
					results[index] = append(results[index], milliseconds(finished.Sub(started)))
				}
			}
		})
	}
	group.Wait()
	var all []float64
	for _, some := range results {
		all = append(all, some...)
	}
	say(map[string]float64{"count": float64(total.Load()), "rate": float64(len(all)) / *seconds, "p50": quantile(all, 0.5), "p99": quantile(all, 0.99)})
}

func getOnce(client *http.Client, request *http.Request) {
	response, err := client.Do(request)
	must(err)
	body, err := io.ReadAll(response.Body)
	must(err)
	response.Body.Close()
	if response.StatusCode != 200 {
		fail("%s %.400s", response.Status, body)
	}
}

func runBulk(args []string) {
	var t target
	set := flag.NewFlagSet("bulk", flag.ExitOnError)
	t.flags(set)
	mode := set.String("mode", "get", "get, post, exec-down, exec-up")
	path := set.String("path", "", "what to get or post, or the pod")
	count := set.Int64("bytes", 64<<20, "how much; a get takes what comes")
	must(set.Parse(args))
	var moved int64
	started := time.Now()
	switch *mode {
	case "get":
		response, err := t.client().Do(t.request("GET", *path, nil))
		must(err)
		if response.StatusCode != 200 {
			fail("%s", response.Status)
		}
		moved, err = io.CopyBuffer(io.Discard, struct{ io.Reader }{response.Body}, make([]byte, 256<<10))
		must(err)
	case "post":
		request := t.request("POST", *path, io.LimitReader(zeros{}, *count))
		request.ContentLength = *count
		request.Header.Set("Content-Type", "application/json")
		response, err := t.client().Do(request)
		must(err)
		if response.StatusCode >= 300 {
			fail("%s", response.Status)
		}
		moved = *count
	case "exec-down":
		moved = download(t.dial(execPath(*path, "stderr=true", "head", "-c", strconv.FormatInt(*count, 10), "/dev/zero")))
	case "exec-up":
		upload(t.dial(execPath(*path, "stdin=true", "sh", "-c", "cat > /dev/null")), *count)
		moved = *count
	}
	say(map[string]float64{"rate": megabytes(moved, time.Since(started)), "bytes": float64(moved)})
}

type zeros struct{}

func (zeros) Read(into []byte) (int, error) { return len(into), nil }

// download reads an exec to its status and returns how many bytes of output came.
func download(socket *websocket.Conn) int64 {
	defer socket.Close()
	var total int64
	buffer := make([]byte, 64<<10)
	for {
		_, reader, err := socket.NextReader()
		must(err)
		n, err := io.ReadAtLeast(reader, buffer[:1], 1)
		if err != nil || n == 0 {
			continue // the empty first messages of a channel
		}
		if buffer[0] == channelStatus {
			assertSuccess(reader)
			return total
		}
		more, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{reader}, buffer)
		must(err)
		total += more
	}
}

func assertSuccess(reader io.Reader) {
	status, err := io.ReadAll(reader)
	must(err)
	if !bytes.Contains(status, []byte("Success")) {
		fail("exec: %s", status)
	}
}

func upload(socket *websocket.Conn, count int64) {
	defer socket.Close()
	done := make(chan int64)
	go func() { done <- download(socket) }()
	message := make([]byte, messageBytes+1)
	message[0] = channelStdin
	for sent := int64(0); sent < count; sent += messageBytes {
		must(socket.WriteMessage(websocket.BinaryMessage, message[:1+min(messageBytes, count-sent)]))
	}
	must(socket.WriteMessage(websocket.BinaryMessage, []byte{channelClose, channelStdin}))
	<-done
}

func runEcho(args []string) {
	var t target
	set := flag.NewFlagSet("echo", flag.ExitOnError)
	t.flags(set)
	pod := set.String("path", "", "the pod")
	count := set.Int("count", 200, "keystrokes")
	bulk := set.Bool("bulk", false, "while a copy runs")
	must(set.Parse(args))
	keyboard := t.dial(execPath(*pod, "stdin=true&tty=true", "cat"))
	var copied atomic.Int64
	if *bulk {
		go copyForEver(t.dial(execPath(*pod, "stderr=true", "cat", "/dev/zero")), &copied)
		for copied.Load() < 4<<20 {
			time.Sleep(time.Millisecond)
		}
	}
	before, started := copied.Load(), time.Now()
	delays := make([]float64, 0, *count)
	for index := range *count {
		delays = append(delays, milliseconds(press(keyboard, byte('a'+index%26))))
		time.Sleep(3 * time.Millisecond) // a person pauses; a queue must not hide behind the next key
	}
	rate := megabytes(copied.Load()-before, time.Since(started))
	say(map[string]float64{"p50": quantile(delays, 0.5), "p99": quantile(delays, 0.99), "rate": rate})
	os.Exit(0)
}

func copyForEver(socket *websocket.Conn, copied *atomic.Int64) {
	buffer := make([]byte, 64<<10)
	for {
		_, reader, err := socket.NextReader()
		if err != nil {
			return
		}
		n, _ := io.CopyBuffer(io.Discard, struct{ io.Reader }{reader}, buffer)
		copied.Add(n)
	}
}

// press sends a key and waits until the terminal shows it.
func press(socket *websocket.Conn, key byte) time.Duration {
	started := time.Now()
	must(socket.WriteMessage(websocket.BinaryMessage, []byte{channelStdin, key}))
	for {
		_, message, err := socket.ReadMessage()
		must(err)
		if len(message) > 1 && message[0] == channelStdout && bytes.IndexByte(message[1:], key) >= 0 {
			return time.Since(started)
		}
	}
}

func runStall(args []string) {
	var t target
	set := flag.NewFlagSet("stall", flag.ExitOnError)
	t.flags(set)
	path := set.String("path", "", "what to get")
	count := set.Int("n", 100, "readers")
	must(set.Parse(args))
	client := t.client()
	for range *count {
		response, err := client.Do(t.request("GET", *path, nil))
		must(err)
		if response.StatusCode != 200 {
			fail("%s", response.Status)
		}
		_, err = io.ReadFull(response.Body, make([]byte, 1024))
		must(err)
	}
	say(map[string]int{"open": *count})
	waitForLine()
	os.Exit(0)
}

func waitForLine() { _, _ = bufio.NewReader(os.Stdin).ReadString('\n') }

// runTCP measures one direction of a forwarded port whose server sends for ever, or answers each mebibyte with a byte.
func runTCP(args []string) {
	set := flag.NewFlagSet("tcp", flag.ExitOnError)
	address := set.String("address", "", "host:port")
	direction := set.String("direction", "down", "down or up")
	count := set.Int64("bytes", 64<<20, "how much")
	must(set.Parse(args))
	connection, err := net.Dial("tcp", *address)
	must(err)
	started := time.Now()
	switch *direction {
	case "down":
		_, err = io.CopyBuffer(io.Discard, io.LimitReader(connection, *count), make([]byte, 256<<10))
		must(err)
	case "up":
		go func() { _, _ = io.CopyBuffer(connection, io.LimitReader(zeros{}, *count), make([]byte, 64<<10)) }()
		_, err = io.ReadFull(connection, make([]byte, 1))
		must(err)
	}
	say(map[string]float64{"rate": megabytes(*count, time.Since(started))})
	os.Exit(0)
}

func runWatch(args []string) {
	var t, direct target
	set := flag.NewFlagSet("watch", flag.ExitOnError)
	t.flags(set)
	set.StringVar(&direct.base, "direct-url", "", "where events are written")
	set.StringVar(&direct.ca, "direct-ca", "", "its authority")
	set.StringVar(&direct.token, "direct-token", "", "its token")
	collection := set.String("path", "", "the ConfigMaps to watch")
	object := set.String("object", "", "the ConfigMap to write")
	count := set.Int("n", 1000, "watches")
	events := set.Int("events", 10, "writes")
	must(set.Parse(args))
	delays := make(chan float64, *count**events)
	client := t.client()
	opened := time.Now()
	openAll(*count, func() {
		response, err := client.Do(t.request("GET", *collection+"?watch=1&resourceVersion=0&sendInitialEvents=false", nil))
		must(err)
		if response.StatusCode != 200 {
			fail("%s", response.Status)
		}
		go followWatch(response.Body, delays)
	})
	say(map[string]float64{"open": float64(*count), "ms": milliseconds(time.Since(opened))})
	waitForLine()
	writer := direct.client()
	var all []float64
	for range *events {
		patch := fmt.Sprintf(`{"data":{"sent":"%d"}}`, time.Now().UnixNano())
		request := direct.request("PATCH", *object, strings.NewReader(patch))
		request.Header.Set("Content-Type", "application/merge-patch+json")
		getOnce(writer, request)
		all = append(all, collect(delays, *count)...)
	}
	missing := *count**events - len(all)
	say(map[string]float64{"p50": quantile(all, 0.5), "p99": quantile(all, 0.99), "missing": float64(missing)})
	os.Exit(0)
}

// openAll opens a few at a time, as many clients that start together would be let in.
func openAll(count int, open func()) {
	var group sync.WaitGroup
	turns := make(chan struct{}, 16)
	for range count {
		turns <- struct{}{}
		group.Go(func() {
			open()
			<-turns
		})
	}
	group.Wait()
}

func collect(delays <-chan float64, count int) []float64 {
	var all []float64
	patience := time.After(10 * time.Second)
	for len(all) < count {
		select {
		case delay := <-delays:
			all = append(all, delay)
		case <-patience:
			return all
		}
	}
	return all
}

func followWatch(body io.Reader, delays chan<- float64) {
	lines := bufio.NewReaderSize(body, 4<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		_, after, found := bytes.Cut(line, []byte(`"sent":"`))
		if !bytes.HasPrefix(line, []byte(`{"type":"MODIFIED"`)) || !found {
			continue
		}
		digits, _, _ := bytes.Cut(after, []byte(`"`))
		sent, err := strconv.ParseInt(string(digits), 10, 64)
		must(err)
		delays <- float64(time.Now().UnixNano()-sent) / 1e6
	}
}

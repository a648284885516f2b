package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/gorilla/websocket"
)

// runUpstream serves what an apiserver would, as fast as a program can: a list of any size, an upload that is thrown away, and an exec
// that sends, takes or echoes. With it a measure shows the way to the apiserver, not the apiserver.
func runUpstream(args []string) {
	set := flag.NewFlagSet("upstream", flag.ExitOnError)
	must(set.Parse(args))
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	mux.HandleFunc("POST /apis/authorization.k8s.io/v1/subjectaccessreviews", allow)
	mux.HandleFunc("GET /api/v1/namespaces/bench/configmaps/small", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(make([]byte, 700))
	})
	mux.HandleFunc("GET /api/v1/namespaces/{count}/configmaps", func(w http.ResponseWriter, r *http.Request) {
		count, _ := strconv.ParseInt(strings.TrimPrefix(r.PathValue("count"), "bytes-"), 10, 64)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.CopyBuffer(w, io.LimitReader(zeros{}, count), make([]byte, 64<<10))
	})
	mux.HandleFunc("POST /api/v1/namespaces/bench/configmaps", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyBuffer(io.Discard, struct{ io.Reader }{r.Body}, make([]byte, 256<<10))
		w.WriteHeader(http.StatusCreated)
	})
	mux.HandleFunc("GET /api/v1/namespaces/bench/pods/bench/exec", serveExec)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	say(map[string]int{"port": listener.Addr().(*net.TCPAddr).Port})
	must(http.Serve(listener, mux))
}

func allow(w http.ResponseWriter, r *http.Request) {
	var review map[string]any
	_ = json.NewDecoder(bufio.NewReader(r.Body)).Decode(&review)
	review["status"] = map[string]bool{"allowed": true}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(review)
}

var upgrader = websocket.Upgrader{Subprotocols: []string{"v5.channel.k8s.io"}, ReadBufferSize: 64 << 10, WriteBufferSize: 64 << 10}

// serveExec understands the commands that the load uses: head -c N /dev/zero, sh (an upload), and cat (a terminal, or endless output).
func serveExec(w http.ResponseWriter, r *http.Request) {
	socket, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer socket.Close()
	command := r.URL.Query()["command"]
	switch {
	case command[0] == "head":
		count, _ := strconv.ParseInt(command[2], 10, 64)
		output(socket, count)
	case command[0] == "cat" && len(command) == 2:
		output(socket, 1<<62)
	case command[0] == "cat":
		echo(socket)
	default:
		for {
			_, message, err := socket.ReadMessage()
			if err != nil || message[0] == channelClose {
				break
			}
		}
	}
	_ = socket.WriteMessage(websocket.BinaryMessage, append([]byte{channelStatus}, `{"status":"Success"}`...))
	_ = socket.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""))
}

func output(socket *websocket.Conn, count int64) {
	message := make([]byte, messageBytes+1)
	message[0] = channelStdout
	for sent := int64(0); sent < count; sent += messageBytes {
		if socket.WriteMessage(websocket.BinaryMessage, message[:1+min(messageBytes, count-sent)]) != nil {
			return
		}
	}
}

func echo(socket *websocket.Conn) {
	for {
		_, message, err := socket.ReadMessage()
		if err != nil {
			return
		}
		message[0] = channelStdout
		if socket.WriteMessage(websocket.BinaryMessage, message) != nil {
			return
		}
	}
}

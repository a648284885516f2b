package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// target is one contender's front: every load program reaches it in the same way, over HTTP/1.1.
type target struct {
	base  string
	ca    string
	token string
}

func (t *target) flags(set *flag.FlagSet) {
	set.StringVar(&t.base, "url", "", "base URL")
	set.StringVar(&t.ca, "ca", "", "file with the authority to trust")
	set.StringVar(&t.token, "token", "", "bearer token")
}

func trust(file string) *tls.Config {
	if file == "" {
		return &tls.Config{}
	}
	pem, err := os.ReadFile(file)
	must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool}
}

// client keeps every connection that it opens, and never speaks HTTP/2: workerd does not offer it, and streams of one connection share its window.
func (t *target) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:     trust(t.ca),
		TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{},
		DisableCompression:  true,
		MaxIdleConns:        0,
		MaxIdleConnsPerHost: 4096,
	}}
}

func (t *target) request(method, path string, body io.Reader) *http.Request {
	request, err := http.NewRequest(method, t.base+path, body)
	must(err)
	if t.token != "" { // kubectl proxy adds a credential of its own only where there is none
		request.Header.Set("Authorization", "Bearer "+t.token)
	}
	request.Header.Set("Accept", "application/json")
	return request
}

// dial opens an exec, with the sub-protocol of today's kubectl.
func (t *target) dial(path string) *websocket.Conn {
	dialer := websocket.Dialer{
		TLSClientConfig:  trust(t.ca),
		Subprotocols:     []string{"v5.channel.k8s.io"},
		HandshakeTimeout: 30 * time.Second,
		ReadBufferSize:   64 << 10,
		WriteBufferSize:  64 << 10,
		NetDial: func(network, address string) (net.Conn, error) {
			return net.Dial(network, address)
		},
	}
	header := http.Header{}
	if t.token != "" {
		header.Set("Authorization", "Bearer "+t.token)
	}
	socket, response, err := dialer.Dial(strings.Replace(t.base, "http", "ws", 1)+path, header)
	if err != nil && response != nil {
		body, _ := io.ReadAll(response.Body)
		fail("%v: %s %s", err, response.Status, body)
	}
	must(err)
	return socket
}

func execPath(pod string, flags string, command ...string) string {
	query := make([]string, 0, len(command))
	for _, word := range command {
		query = append(query, "command="+url.QueryEscape(word))
	}
	return pod + "/exec?stdout=true&" + flags + "&" + strings.Join(query, "&")
}

// quantile sorts its values.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(len(values)-1, int(float64(len(values))*q))]
}

func milliseconds(duration time.Duration) float64 {
	return float64(duration) / float64(time.Millisecond)
}
func megabytes(bytes int64, took time.Duration) float64 {
	return float64(bytes) / (1 << 20) / took.Seconds()
}

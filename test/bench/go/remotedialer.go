package main

import (
	"context"
	"crypto/tls"
	"flag"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"

	"github.com/gorilla/websocket"
	"github.com/rancher/remotedialer"
	"github.com/sirupsen/logrus"
)

const dialerKey = "cluster"

// runDialerServer is Rancher's arrangement: the server ends the user's TLS, dials the apiserver through the agent's WebSocket, and
// speaks TLS to it through the tunnel, over as many tunnelled connections as there are requests at once.
func runDialerServer(args []string) {
	set := flag.NewFlagSet("remotedialer-server", flag.ExitOnError)
	certificate := set.String("certificate", "", "PEM file")
	key := set.String("key", "", "PEM file")
	upstream := set.String("upstream", "", "the apiserver's URL")
	ca := set.String("upstream-ca", "", "its authority")
	must(set.Parse(args))
	logrus.SetLevel(logrus.ErrorLevel)
	dialer := remotedialer.New(func(*http.Request) (string, bool, error) { return dialerKey, true, nil }, remotedialer.DefaultErrorWriter)
	to, err := url.Parse(*upstream)
	must(err)
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(to) },
		FlushInterval: -1,
		Transport: &http.Transport{
			TLSClientConfig:     trust(*ca),
			MaxIdleConnsPerHost: 4096,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return dialer.Dialer(dialerKey)(ctx, network, address)
			},
		},
	}
	mux := http.NewServeMux()
	mux.Handle("/connect", dialer)
	mux.Handle("/", proxy)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	say(map[string]int{"port": listener.Addr().(*net.TCPAddr).Port})
	server := &http.Server{Handler: mux, TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}
	must(server.ServeTLS(listener, *certificate, *key))
}

// runDialerClient is the agent: it dials what the server asks for.
func runDialerClient(args []string) {
	set := flag.NewFlagSet("remotedialer-client", flag.ExitOnError)
	server := set.String("server", "", "wss URL")
	ca := set.String("ca", "", "its authority")
	must(set.Parse(args))
	logrus.SetLevel(logrus.ErrorLevel)
	dialer := &websocket.Dialer{TLSClientConfig: trust(*ca), HandshakeTimeout: remotedialer.HandshakeTimeOut}
	connected := func(context.Context, *remotedialer.Session) error {
		say(map[string]bool{"connected": true})
		return nil
	}
	allowAll := func(string, string) bool { return true }
	must(remotedialer.ClientConnect(context.Background(), *server, http.Header{}, dialer, allowAll, connected))
}

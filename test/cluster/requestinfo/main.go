// Command requestinfo says what a Kubernetes apiserver takes requests for. It reads one JSON array [method, target] per line and
// writes one JSON object per line: the RequestInfo of k8s.io/apiserver, or {"error": "..."} where the apiserver would refuse.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"log"
	"net/http"
	"net/url"
	"os"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/klog/v2"
)

// answer is what is compared: the fields of RequestInfo that decisions are made on.
type answer struct {
	Error         string `json:"error,omitempty"`
	IsResource    bool   `json:"isResource"`
	Verb          string `json:"verb"`
	APIGroup      string `json:"apiGroup"`
	APIVersion    string `json:"apiVersion"`
	Namespace     string `json:"namespace"`
	Resource      string `json:"resource"`
	Subresource   string `json:"subresource"`
	Name          string `json:"name"`
	FieldSelector string `json:"fieldSelector"`
	LabelSelector string `json:"labelSelector"`
	Path          string `json:"path"`
}

func main() {
	silenceKlog()
	factory := &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	encoder := json.NewEncoder(out)
	for lines.Scan() {
		var question [2]string
		if err := json.Unmarshal(lines.Bytes(), &question); err != nil {
			log.Fatalf("not a JSON array of two strings: %v", err)
		}
		if err := encoder.Encode(classify(factory, question[0], question[1])); err != nil {
			log.Fatal(err)
		}
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}

// classify parses the target as net/http's server does and asks the apiserver's own factory.
func classify(factory *request.RequestInfoFactory, method, target string) answer {
	location, err := url.ParseRequestURI(target)
	if err != nil {
		return answer{Error: err.Error()}
	}
	info, err := factory.NewRequestInfo(&http.Request{Method: method, URL: location, RequestURI: target})
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{
		IsResource: info.IsResourceRequest, Verb: info.Verb, APIGroup: info.APIGroup, APIVersion: info.APIVersion,
		Namespace: info.Namespace, Resource: info.Resource, Subresource: info.Subresource, Name: info.Name,
		FieldSelector: info.FieldSelector, LabelSelector: info.LabelSelector, Path: info.Path,
	}
}

// silenceKlog keeps the factory's complaints about malformed list options out of the tests' output.
func silenceKlog() {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	for name, value := range map[string]string{"logtostderr": "false", "stderrthreshold": "FATAL"} {
		if err := flags.Set(name, value); err != nil {
			log.Fatal(err)
		}
	}
	klog.SetOutput(nothing{})
}

type nothing struct{}

func (nothing) Write(p []byte) (int, error) { return len(p), nil }

// Command informer watches the ConfigMaps of a namespace as every Kubernetes controller does, with client-go's shared informer, and
// tells what it sees. It is how the tests show that no change is lost between the cluster and a client behind the gateway: at the end,
// its cache has to be what the cluster holds.
//
//	informer -kubeconfig FILE -namespace NAME
//
// It prints JSON lines: first {"type":"synced"}, then one for each event. The line "cache" on standard input prints the whole cache;
// the end of standard input, or SIGTERM, prints it a last time and ends the program.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

type line struct {
	Type            string `json:"type"`
	Name            string `json:"name,omitempty"`
	ResourceVersion string `json:"resourceVersion,omitempty"`
	// The value of the ConfigMap's key "number".
	Number string `json:"number,omitempty"`
	// Of every ConfigMap in the cache, its resourceVersion.
	Items map[string]string `json:"items,omitempty"`
	// What went wrong with a watch; the informer goes on by itself.
	Error string `json:"error,omitempty"`
}

// writer prints whole lines, whichever goroutine they come from.
type writer struct {
	mutex   sync.Mutex
	encoder *json.Encoder
}

func (w *writer) print(l line) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if err := w.encoder.Encode(l); err != nil {
		os.Exit(1) // Nobody reads any more.
	}
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the cluster")
	namespace := flag.String("namespace", "default", "where to watch")
	flag.Parse()
	if err := run(*kubeconfig, *namespace); err != nil {
		fmt.Fprintln(os.Stderr, "informer:", err)
		os.Exit(1)
	}
}

func run(kubeconfig, namespace string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	out := &writer{encoder: json.NewEncoder(os.Stdout)}
	factory := informers.NewSharedInformerFactoryWithOptions(clients, 0, informers.WithNamespace(namespace))
	informer := factory.Core().V1().ConfigMaps().Informer()
	if err := informer.SetWatchErrorHandler(func(_ *cache.Reflector, err error) {
		out.print(line{Type: "error", Error: err.Error()})
	}); err != nil {
		return err
	}
	registration, err := informer.AddEventHandler(handler(out))
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced, registration.HasSynced) {
		return ctx.Err()
	}
	out.print(line{Type: "synced"})

	questions := readQuestions()
	for open := true; open; {
		select {
		case _, open = <-questions:
			out.print(snapshot(informer))
		case <-ctx.Done():
			out.print(snapshot(informer))
			open = false
		}
	}
	stop()
	factory.Shutdown()
	return nil
}

func handler(out *writer) cache.ResourceEventHandlerFuncs {
	tell := func(kind string, object any) {
		if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = unknown.Obj
		}
		configMap := object.(*corev1.ConfigMap)
		out.print(line{Type: kind, Name: configMap.Name, ResourceVersion: configMap.ResourceVersion, Number: configMap.Data["number"]})
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { tell("added", object) },
		UpdateFunc: func(_, object any) { tell("updated", object) },
		DeleteFunc: func(object any) { tell("deleted", object) },
	}
}

func snapshot(informer cache.SharedIndexInformer) line {
	items := map[string]string{}
	for _, object := range informer.GetStore().List() {
		configMap := object.(*corev1.ConfigMap)
		items[configMap.Name] = configMap.ResourceVersion
	}
	return line{Type: "cache", Items: items, ResourceVersion: informer.LastSyncResourceVersion()}
}

// readQuestions gives one value for each line of standard input, and closes at its end.
func readQuestions() <-chan struct{} {
	questions := make(chan struct{})
	go func() {
		defer close(questions)
		for scanner := bufio.NewScanner(os.Stdin); scanner.Scan(); {
			questions <- struct{}{}
		}
	}()
	return questions
}

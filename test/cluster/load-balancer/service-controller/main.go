// Kubernetes' own service controller with its fake provider, for tests that compare: it reads steps as JSON lines, and after each step
// writes what the controller did to the Service "web" as one JSON line. A step is over when a Service that was made after it has its load
// balancer: the controller has one worker, and its queue keeps the order.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/controllers/service"
	fakecloud "k8s.io/cloud-provider/fake"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/metrics/prometheus/controllers"
	"k8s.io/klog/v2"
)

const namespace = "shop"
const subject = "web"

// step is one change of the cluster, or of the provider.
type step struct {
	// putService, removeService, putNode, removeNode or fail
	Op      string          `json:"op"`
	Object  json.RawMessage `json:"object"`
	Name    string          `json:"name"`
	Message string          `json:"message"`
}

// report is what the controller did in a step.
type report struct {
	Events  []string `json:"events"`
	Patches []string `json:"patches"`
}

// provider is the fake one, which knows which load balancers it has.
type provider struct {
	*fakecloud.Cloud
	mu      sync.Mutex
	has     map[string]bool
	failure string
}

func (p *provider) LoadBalancer() (cloudprovider.LoadBalancer, bool) { return p, true }

func (p *provider) fails(name string) error {
	if p.failure != "" && name == subject {
		return fmt.Errorf("%s", p.failure)
	}
	return nil
}

func (p *provider) GetLoadBalancer(_ context.Context, _ string, service *v1.Service) (*v1.LoadBalancerStatus, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &v1.LoadBalancerStatus{}, p.has[service.Name], nil
}

func (p *provider) EnsureLoadBalancer(ctx context.Context, cluster string, service *v1.Service, nodes []*v1.Node) (*v1.LoadBalancerStatus, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.fails(service.Name); err != nil {
		return nil, err
	}
	p.has[service.Name] = true
	mode := v1.LoadBalancerIPModeVIP
	return &v1.LoadBalancerStatus{Ingress: []v1.LoadBalancerIngress{{IP: "192.0.2.1", IPMode: &mode}}}, nil
}

func (p *provider) UpdateLoadBalancer(_ context.Context, _ string, service *v1.Service, _ []*v1.Node) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fails(service.Name)
}

func (p *provider) EnsureLoadBalancerDeleted(_ context.Context, _ string, service *v1.Service) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.fails(service.Name); err != nil {
		return err
	}
	delete(p.has, service.Name)
	return nil
}

// recorder notes what happens to the subject, and wakes who waits for a marker.
type recorder struct {
	mu      sync.Mutex
	now     report
	markers map[string]chan struct{}
}

func (r *recorder) event(event *v1.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if event.InvolvedObject.Name == subject {
		r.now.Events = append(r.now.Events, event.Reason)
	}
	if marker, ok := r.markers[event.InvolvedObject.Name]; ok && event.Reason == "EnsuredLoadBalancer" {
		close(marker)
		delete(r.markers, event.InvolvedObject.Name)
	}
}

func (r *recorder) patch(before, after *v1.Service) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if after.Name != subject {
		return
	}
	if !slices.Equal(before.Finalizers, after.Finalizers) {
		r.now.Patches = append(r.now.Patches, fmt.Sprintf("finalizers %v", after.Finalizers))
		return
	}
	addresses := []string{}
	for _, ingress := range after.Status.LoadBalancer.Ingress {
		mode := ""
		if ingress.IPMode != nil {
			mode = string(*ingress.IPMode)
		}
		addresses = append(addresses, ingress.IP+" "+mode)
	}
	r.now.Patches = append(r.now.Patches, fmt.Sprintf("status %v", addresses))
}

func (r *recorder) take() report {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.now
	r.now = report{Events: []string{}, Patches: []string{}}
	return taken
}

func main() {
	klog.LogToStderr(false)
	klog.SetOutput(discard{})
	seen := &recorder{now: report{Events: []string{}, Patches: []string{}}, markers: map[string]chan struct{}{}}
	client := newClient(seen)
	cloud := &provider{Cloud: &fakecloud.Cloud{}, has: map[string]bool{}}
	factory := informers.NewSharedInformerFactory(client, 0)
	controller, err := service.New(cloud, client, factory.Core().V1().Services(), factory.Core().V1().Nodes(), "cluster-1", nil)
	must(err)
	ctx := context.Background()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	go controller.Run(ctx, 1, controllers.NewControllerManagerMetrics("test"))

	output := json.NewEncoder(os.Stdout)
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 1<<20)
	for number := 0; input.Scan(); number++ {
		var next step
		must(json.Unmarshal(input.Bytes(), &next))
		nodeSyncs := countNodeSyncs()
		if apply(ctx, client, cloud, next) {
			for countNodeSyncs() == nodeSyncs {
			}
		}
		waitForMarker(ctx, client, seen, fmt.Sprintf("marker-%d", number))
		must(output.Encode(seen.take()))
	}
}

// newClient gives a client whose patches do to Services what an apiserver's do.
func newClient(seen *recorder) *fake.Clientset {
	client := fake.NewClientset()
	tracker := ktesting.ObjectReaction(client.Tracker())
	client.PrependReactor("patch", "services", func(action ktesting.Action) (bool, runtime.Object, error) {
		patch := action.(ktesting.PatchAction)
		before, err := client.Tracker().Get(action.GetResource(), action.GetNamespace(), patch.GetName())
		if err != nil {
			return true, nil, err
		}
		handled, object, err := tracker(action)
		if err == nil {
			after := object.(*v1.Service)
			seen.patch(before.(*v1.Service), after)
			if after.DeletionTimestamp != nil && len(after.Finalizers) == 0 {
				must(client.Tracker().Delete(action.GetResource(), after.Namespace, after.Name))
			}
		}
		return handled, object, err
	})
	client.PrependReactor("*", "events", func(action ktesting.Action) (bool, runtime.Object, error) {
		switch action := action.(type) {
		case ktesting.CreateAction:
			event := action.GetObject().(*v1.Event)
			seen.event(event)
			return true, event, nil
		case ktesting.PatchAction:
			// An event like an earlier one is counted there, unless that is gone: then it is written as a new one.
			return true, nil, apierrors.NewNotFound(v1.Resource("events"), action.GetName())
		}
		return false, nil, nil
	})
	return client
}

// apply makes a change; true when it is one that the controller looks at all nodes for.
func apply(ctx context.Context, client *fake.Clientset, cloud *provider, next step) bool {
	services, nodes := client.CoreV1().Services(namespace), client.CoreV1().Nodes()
	switch next.Op {
	case "putService":
		object := &v1.Service{}
		must(json.Unmarshal(next.Object, object))
		if _, err := services.Get(ctx, object.Name, metav1.GetOptions{}); err != nil {
			_, err = services.Create(ctx, object, metav1.CreateOptions{})
			must(err)
			return false
		}
		_, err := services.Update(ctx, object, metav1.UpdateOptions{})
		must(err)
	case "editService":
		object, err := services.Get(ctx, next.Name, metav1.GetOptions{})
		must(err)
		must(json.Unmarshal(next.Object, object))
		if object.Spec.Type != v1.ServiceTypeLoadBalancer {
			object.Status.LoadBalancer = v1.LoadBalancerStatus{}
		}
		_, err = services.Update(ctx, object, metav1.UpdateOptions{})
		must(err)
	case "removeService":
		object, err := services.Get(ctx, next.Name, metav1.GetOptions{})
		must(err)
		now := metav1.Now()
		object.DeletionTimestamp = &now
		_, err = services.Update(ctx, object, metav1.UpdateOptions{})
		must(err)
	case "putNode":
		object := &v1.Node{}
		must(json.Unmarshal(next.Object, object))
		if _, err := nodes.Get(ctx, object.Name, metav1.GetOptions{}); err != nil {
			_, err = nodes.Create(ctx, object, metav1.CreateOptions{})
			must(err)
			return true
		}
		_, err := nodes.Update(ctx, object, metav1.UpdateOptions{})
		must(err)
		return next.Message == "syncs"
	case "removeNode":
		must(nodes.Delete(ctx, next.Name, metav1.DeleteOptions{}))
		return true
	case "fail":
		cloud.mu.Lock()
		cloud.failure = next.Message
		cloud.mu.Unlock()
	default:
		panic("no such step: " + next.Op)
	}
	return false
}

func waitForMarker(ctx context.Context, client *fake.Clientset, seen *recorder, name string) {
	done := make(chan struct{})
	seen.mu.Lock()
	seen.markers[name] = done
	seen.mu.Unlock()
	marker := &v1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1.ServiceSpec{Type: v1.ServiceTypeLoadBalancer}}
	_, err := client.CoreV1().Services(namespace).Create(ctx, marker, metav1.CreateOptions{})
	must(err)
	<-done
}

// countNodeSyncs is how often the controller has looked at all nodes.
func countNodeSyncs() uint64 {
	families, err := legacyregistry.DefaultGatherer.Gather()
	must(err)
	for _, family := range families {
		if family.GetName() == "service_controller_nodesync_latency_seconds" {
			return family.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	return 0
}

type discard struct{}

func (discard) Write(bytes []byte) (int, error) { return len(bytes), nil }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

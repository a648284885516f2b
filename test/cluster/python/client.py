"""The official Python client, as users' scripts use it: one job for each start, results as JSON lines on standard output.

    client.py KUBECONFIG list NAMESPACE
    client.py KUBECONFIG watch NAMESPACE COUNT
    client.py KUBECONFIG exec NAMESPACE POD INPUT COMMAND...
"""

import json
import sys

from kubernetes import client, config, watch
from kubernetes.stream import stream


def say(**line):
    print(json.dumps(line), flush=True)


def list_config_maps(namespace):
    found = client.CoreV1Api().list_namespaced_config_map(namespace)
    say(names=sorted(item.metadata.name for item in found.items), resourceVersion=found.metadata.resource_version)


def watch_config_maps(namespace, count):
    """Lists, says so, and then prints `count` events after that list."""
    api = client.CoreV1Api()
    start = api.list_namespaced_config_map(namespace).metadata.resource_version
    say(listed=start)
    watcher = watch.Watch()
    seen = 0
    for event in watcher.stream(api.list_namespaced_config_map, namespace, resource_version=start):
        metadata = event["object"].metadata
        say(type=event["type"], name=metadata.name, resourceVersion=metadata.resource_version)
        seen += 1
        if seen == int(count):
            watcher.stop()


def execute(namespace, pod, text, *command):
    """Runs a command in a pod, sends it one line, and prints what it answers and how it ends."""
    session = stream(
        client.CoreV1Api().connect_get_namespaced_pod_exec,
        pod,
        namespace,
        command=list(command),
        stdin=True,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
    )
    if text:
        session.write_stdin(text + "\n")
    session.run_forever()
    say(stdout=session.read_stdout(timeout=0) or "", stderr=session.read_stderr(timeout=0) or "", code=session.returncode)


JOBS = {"list": list_config_maps, "watch": watch_config_maps, "exec": execute}


def main(kubeconfig, job, *arguments):
    config.load_kube_config(kubeconfig)
    JOBS[job](*arguments)


main(*sys.argv[1:])

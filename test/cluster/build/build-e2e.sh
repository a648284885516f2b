#!/usr/bin/env bash
# build-e2e.sh [VERSION]: builds Kubernetes' own end-to-end tests from its Go modules, into the cache that build.sh fills:
#   e2e.test   the tests that `npm run test:conformance` runs
#   ginkgo     runs several of them at a time
#   kubectl    a name for the cluster's kubectl, which the tests start
#   e2e-*.tar  the images of two tests: a server that answers outside of the connection's window, and conntrack
# It needs Go 1.24 or later. The first time it takes 4 minutes on two cores, after build.sh; what is there already is not built again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=module.sh
source "$here/module.sh"
mkdir -p "$cache/src/e2e"
cd "$cache/src/e2e"
ginkgo=github.com/onsi/ginkgo/v2/ginkgo
boom=k8s.io/kubernetes/test/images/regression-issue-74839

prepare() {
  write_module e2e
  write_imports e2e k8s.io/kubernetes/test/e2e "$ginkgo" "$boom"
  go mod tidy
}

build_ginkgo() {
  prepare
  go build -trimpath -ldflags "$small" -o "$cache/ginkgo.part" "$ginkgo"
  mv "$cache/ginkgo.part" "$cache/ginkgo"
}

build_tests() {
  prepare
  go test -c -trimpath -ldflags "$small $stamp" -o "$cache/e2e.part" k8s.io/kubernetes/test/e2e
  mv "$cache/e2e.part" "$cache/e2e.test"
}

build_images() {
  local work; work=$(mktemp -d)
  prepare
  mkdir -p "$work/boom"
  go build -trimpath -ldflags "$small" -o "$work/boom/regression-issue-74839" "$boom"
  "$archive" registry.k8s.io/e2e-test-images/regression-issue-74839:1.2 "$work/boom" "$cache/e2e-boom.tar" '["/regression-issue-74839"]'
  # The one test that wants this image starts conntrack and grep in it.
  busybox_root "$work/iptables"
  add_programs "$work/iptables" conntrack
  "$archive" registry.k8s.io/build-image/distroless-iptables:v0.7.14 "$work/iptables" "$cache/e2e-iptables.tar" '["/bin/sh"]'
  rm -rf "$work"
}

[ -x "$cache/ginkgo" ] || { say "building ginkgo"; build_ginkgo; }
[ -f "$(made)" ] || { say "making the images of two tests"; build_images; touch "$(made)"; }
[ -x "$cache/e2e.test" ] || { say "building Kubernetes' end-to-end tests $version"; build_tests; }
# The one binary of build.sh is the program that it is called by.
ln -sf kube "$cache/kubectl"
say "ready in $cache"

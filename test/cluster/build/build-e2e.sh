#!/usr/bin/env bash
# build-e2e.sh [VERSION]: builds Kubernetes' own end-to-end tests from its Go modules, into the cache that build.sh fills:
#   e2e.test   the tests that `npm run test:conformance` runs
#   ginkgo     runs several of them at a time
#   kubectl    a name for the cluster's kubectl, which the tests start
#   boom.tar   the image of the one test that brings a server of its own (answers outside of the connection's window)
# It needs Go 1.24 or later. The first time it takes about 10 minutes on two cores after build.sh; what is there already is not built again.
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

build_image() {
  local work; work=$(mktemp -d)
  prepare
  go build -trimpath -ldflags "$small" -o "$work/regression-issue-74839" "$boom"
  "$here/../../../infra/image/archive.sh" registry.k8s.io/e2e-test-images/regression-issue-74839:1.2 "$work" "$cache/boom.tar" \
    '["/regression-issue-74839"]'
  rm -rf "$work"
}

[ -x "$cache/ginkgo" ] || { say "building ginkgo"; build_ginkgo; }
[ -f "$cache/boom.tar" ] || { say "making the image of a test"; build_image; }
[ -x "$cache/e2e.test" ] || { say "building Kubernetes' end-to-end tests $version"; build_tests; }
# The one binary of build.sh is the program that it is called by.
ln -sf kube "$cache/kubectl"
say "ready in $cache"

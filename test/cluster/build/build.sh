#!/usr/bin/env bash
# build.sh [VERSION]: builds the Kubernetes that the cluster tests run on, from its Go modules, into the cache:
#   kube, coredns               the programs (see kube/main.go)
#   pause|busybox|agnhost.tar   container images; agnhost is Kubernetes' own test server
# It needs Go 1.24 or later and the Debian packages of packages.txt. The first time it takes 10 to 20 minutes on two cores; what is
# there already is not built again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=module.sh
source "$here/module.sh"
coredns_version=v1.12.4
mkdir -p "$cache/src"

build_kube() {
  mkdir -p "$cache/src/kube"; cd "$cache/src/kube"
  cp "$here/kube/main.go" .
  write_module kube
  go mod tidy
  go build -trimpath -o "$cache/kube.part" -ldflags "$small $stamp" .
  mv "$cache/kube.part" "$cache/kube"
}

build_agnhost() {
  mkdir -p "$cache/src/agnhost"; cd "$cache/src/agnhost"
  write_module agnhost
  write_imports agnhost k8s.io/kubernetes/test/images/agnhost
  go mod tidy
  go build -trimpath -ldflags "$small" -o "$cache/agnhost.part" k8s.io/kubernetes/test/images/agnhost
  mv "$cache/agnhost.part" "$cache/agnhost"
}

build_images() {
  local work; work=$(mktemp -d)
  mkdir -p "$work/pause"
  (cd "$here/pause" && GO111MODULE=off go build -ldflags "$small" -o "$work/pause/pause" main.go)
  "$archive" registry.k8s.io/pause:3.10.1 "$work/pause" "$cache/pause.tar" '["/pause"]'
  busybox_root "$work/busybox"
  "$archive" registry.k8s.io/e2e-test-images/busybox:1.37.0-1 "$work/busybox" "$cache/busybox.tar" '["/bin/sh"]'
  busybox_root "$work/agnhost"
  mkdir -p "$work/agnhost"/{uploads,root}
  cp "$cache/agnhost" "$work/agnhost/agnhost"
  # What agnhost serves HTTPS with.
  cp "$(cd "$cache/src/agnhost" && go list -m -f '{{.Dir}}' k8s.io/kubernetes)"/test/images/agnhost/porter/localhost.{crt,key} "$work/agnhost/"
  add_programs "$work/agnhost" bash dash curl dig ip nc socat ss tar wget
  ln -sf ../usr/bin/dash "$work/agnhost/bin/sh"
  # glibc resolves names with libraries that it loads by name only.
  cp "$(ldconfig -p | awk '/libnss_files\.so\.2/ { print $NF; exit }')" "$(ldconfig -p | awk '/libnss_dns\.so\.2/ { print $NF; exit }')" \
    "$work/agnhost$(dirname "$(ldconfig -p | awk '/libc\.so\.6/ { print $NF; exit }')")/"
  "$archive" registry.k8s.io/e2e-test-images/agnhost:2.56 "$work/agnhost" "$cache/agnhost.tar" '["/agnhost"]' '' '["pause"]'
  rm -rf "$work"
}

[ -x "$cache/kube" ] || { say "building Kubernetes $version"; build_kube; }
[ -x "$cache/agnhost" ] || { say "building agnhost"; build_agnhost; }
[ -x "$cache/coredns" ] || { say "building CoreDNS"; GOBIN=$cache go install -ldflags "$small" "github.com/coredns/coredns@$coredns_version"; }
[ -f "$(made)" ] || { say "making the images"; build_images; touch "$(made)"; }
say "ready in $cache"

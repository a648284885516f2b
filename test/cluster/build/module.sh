# Sourced by the build scripts, which set `here`: what they share.

version=${1:-v1.34.4}
cache=${SALLYPORT_CACHE:-$HOME/.cache/sallyport}/cluster/$version
staging=v0.${version#v1.}
minor=$(cut -d. -f2 <<< "$version")
export CGO_ENABLED=0
# Tests never debug these programs: without symbols they are half the size.
small='-s -w'
# The version that a program of Kubernetes says it is.
stamp="-X k8s.io/component-base/version.gitVersion=$version -X k8s.io/component-base/version.gitMajor=1 \
  -X k8s.io/component-base/version.gitMinor=$minor -X k8s.io/client-go/pkg/version.gitVersion=$version"

say() { echo "$(basename "$0"): $*" >&2; }

# write_module NAME: go.mod of a module that uses Kubernetes'. k8s.io/kubernetes names its own parts at version zero and replaces them in
# its tree; a user of the module has to name them again.
write_module() {
  local name=$1 manifest
  manifest=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/.*"GoMod": "\(.*\)",*/\1/p')
  {
    printf 'module %s\n\ngo 1.24.0\n\nrequire k8s.io/kubernetes %s\n\nreplace (\n' "$name" "$version"
    grep -oE '^\s*k8s.io/[a-z-]+ =>' "$manifest" | awk -v to="$staging" '{ print "\t" $1 " => " $1 " " to }' | sort -u
    printf ')\n'
  } > go.mod
}

# write_imports NAME PACKAGE…: a file that makes `go mod tidy` keep what the packages need.
write_imports() {
  local name=$1; shift
  {
    printf '//go:build tools\n\npackage %s\n\nimport (\n' "$name"
    printf '\t_ "%s"\n' "$@"
    printf ')\n'
  } > tools.go
}

# Makes a container image from a folder.
archive=$here/../../../infra/image/archive.sh

# The file that says that a script's images are made; another one whenever the scripts say something else about them.
made() { echo "$cache/images-$(cat "$here/module.sh" "$here/$(basename "$0")" | sha256sum | cut -c 1-12).done"; }

busybox_root() {
  local root=$1 applet
  mkdir -p "$root"/{bin,tmp,etc,www}
  cp /bin/busybox "$root/bin/"
  for applet in $(/bin/busybox --list); do
    [ "$applet" = busybox ] || ln -sf busybox "$root/bin/$applet"
  done
  printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n' > "$root/etc/passwd"
  printf 'root:x:0:\nuser:x:1000:\n' > "$root/etc/group"
}

# Programs of this machine with the libraries that they are linked with.
add_programs() {
  local root=$1 program path library; shift
  for program in "$@"; do
    path=$(command -v "$program") || { say "$program is missing: install the packages of packages.txt"; exit 1; }
    rm -f "$root/bin/$program"
    mkdir -p "$root/usr/bin"; cp -L "$path" "$root/usr/bin/"
    for library in $(ldd "$path" | grep -o '/[^ ]*'); do
      mkdir -p "$root$(dirname "$library")"; cp -L "$library" "$root$library"
    done
  done
}

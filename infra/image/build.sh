#!/usr/bin/env bash
# build.sh ARCHIVE [NAME:TAG]: the agent's container image as an archive, without any container tool; `docker load` and
# `ctr images import` read it. Run `npm run build` first.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
archive=$1 name=${2:-docker.io/sallyport/agent:0.1.0}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
"$here/root.sh" "$root"
"$here/archive.sh" "$name" "$root" "$archive" '["/bin/node","/app/sallyport.js"]' 65532:65532

#!/usr/bin/env bash
# build.sh ARCHIVE [NAME:TAG [PROGRAM…]]: a container image of the agent as an archive, without any container tool; `docker load` and
# `ctr images import` read it. The service proxy's has the programs nft and conntrack. Run `npm run build` first.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
archive=$1 name=${2:-docker.io/sallyport/agent:0.1.0}
shift; shift || true
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
"$here/root.sh" "$root" "$@"
"$here/archive.sh" "$name" "$root" "$archive" "$(cat "$here/entrypoint.json")" 65532:65532

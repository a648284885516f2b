#!/usr/bin/env bash
# archive.sh NAME:TAG FOLDER ARCHIVE ENTRYPOINT-JSON [USER] [COMMAND-JSON]
# Makes a container image of one layer from a folder, as an archive that `ctr images import` and `docker load` read. The same folder
# gives the same archive. An image needs a layer, a configuration and a manifest, and nothing else; so no builder is needed either.
set -euo pipefail
name=$1 folder=$2 archive=$3 entrypoint=$4 user=${5:-} command=${6:-null}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/image"
# GNU tar's fixed order, owner and date make the layer reproducible.
tar -C "$folder" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$work/layer.tar" .
digest=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
mv "$work/layer.tar" "$work/image/$digest.tar"
case $(uname -m) in x86_64) architecture=amd64 ;; aarch64) architecture=arm64 ;; *) architecture=$(uname -m) ;; esac
cat > "$work/image/config.json" <<JSON
{"architecture":"$architecture","os":"linux",
 "config":{"User":"$user","Entrypoint":$entrypoint,"Cmd":$command,"Env":["PATH=/bin:/usr/bin:/"]},
 "rootfs":{"type":"layers","diff_ids":["sha256:$digest"]}}
JSON
printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["%s.tar"]}]\n' "$name" "$digest" > "$work/image/manifest.json"
tar -C "$work/image" --sort=name --owner=0 --group=0 --mtime=@0 -cf "$archive.part" .
mv "$archive.part" "$archive"

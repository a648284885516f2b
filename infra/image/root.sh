#!/usr/bin/env bash
# root.sh FOLDER [PROGRAM…]: puts the agent's root file system into FOLDER: Node, the bundle of dist/, the programs that a role needs (the
# service proxy: nft and conntrack), and the libraries that they are linked with. No shell, no package manager, no other program: what is
# not there cannot be used against the cluster. Run `npm run build` first.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$here/../..
root=$1
shift
node=$repository/node_modules/node/bin/node
bundle=$repository/dist
for needed in "$node" "$bundle/sallyport.js" "$bundle/agent.js"; do
  [ -f "$needed" ] || { echo "root.sh: $needed is missing: run npm run build first" >&2; exit 1; }
done

mkdir -p "$root"/{app,bin,etc,tmp}

# add_program FILE: ldd names the libraries by the paths at which the loader will look for them.
add_program() {
  local library
  cp -L "$1" "$root/bin/"
  for library in $(ldd "$1" | grep -o '/[^ :]*' | grep -v "^$1$"); do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done
}

add_program "$node"
for program in "$@"; do
  file=$(PATH=$PATH:/usr/sbin:/sbin command -v "$program") || { echo "root.sh: the program $program is not installed" >&2; exit 1; }
  add_program "$file"
done
# glibc loads these two by name when a host name is looked up, so ldd does not know them.
libraries=$(ldconfig -p)
for name in libnss_files.so.2 libnss_dns.so.2; do
  library=$(awk -v name="$name" '$1 == name { print $NF; exit }' <<< "$libraries")
  if [ -n "$library" ]; then
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  fi
done
printf 'hosts: files dns\n' > "$root/etc/nsswitch.conf"
printf 'sallyport:x:65532:65532::/:/none\n' > "$root/etc/passwd"
printf 'sallyport:x:65532:\n' > "$root/etc/group"

cp "$bundle/sallyport.js" "$bundle/agent.js" "$root/app/"
[ ! -d "$bundle/chunks" ] || cp -r "$bundle/chunks" "$root/app/"
# Tells Node that the bundle is made of ES modules.
printf '{"type":"module"}\n' > "$root/app/package.json"
chmod 1777 "$root/tmp"

#!/usr/bin/env bash
# Creates the image whose containers resolve names as real programs do, for the tests in test/docker: glibc's getent,
# Python, a JVM, nginx and busybox from Debian packages, and the programs of test/docker/testdata for musl, Go and Java.
#
#   scripts/test-image.sh        creates the image if the engine does not have it
#   scripts/test-image.sh name   prints its name
#
# apt-get fetches and verifies the Debian packages from the machine's sources. They are only unpacked, not configured.
# Compared with debootstrap, that saves two thirds of the time, unused packages, and root. The result is stored as a tar
# file in ${XDG_CACHE_HOME:-~/.cache}/rollcall-test and in the engine, under a name derived from this script and the
# programs; older ones are removed.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(
  base-files base-passwd dash coreutils
  libc-bin python3-minimal busybox-static nginx default-jre-headless
  libecj-java # compiles Lookup.java; a JDK would double the size of the image
)
programs=test/docker/testdata
label=com.bakingclouds.rollcall.test=clients

hash=$(cat scripts/test-image.sh $programs/lookup.c $programs/lookup.py $programs/Lookup.java $programs/lookup/main.go | sha256sum | cut -c 1-12)
image=rollcall-test/clients:$hash
case "${1:-}" in
  name)
    echo "$image"
    exit 0
    ;;
  "") ;;
  *)
    echo "usage: scripts/test-image.sh [name]" >&2
    exit 2
    ;;
esac
if docker image inspect "$image" >/dev/null 2>&1; then exit 0; fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/rollcall-test
kept=$cache/clients-$hash.tar
mkdir -p "$cache"
import() { docker import --change "LABEL $label" --change 'ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' "$@" >/dev/null; }
if [ -e "$kept" ]; then
  import "$kept" "$image"
  exit 0
fi

for tool in docker apt-get dpkg-deb musl-gcc; do
  command -v $tool >/dev/null || {
    echo "the image for the tests needs $tool; on Debian, scripts/setup-test.sh installs it" >&2
    exit 1
  }
done
echo "creating the image $image"
tmp=$(mktemp -d)
cleanup() {
  docker ps -aq --filter "ancestor=$image-base" | xargs -r docker rm -f >/dev/null
  docker rmi "$image-base" >/dev/null 2>&1 || true
  chmod -R u+w "$tmp"
  rm -rf "$tmp"
}
trap cleanup EXIT

# An empty status file makes apt-get fetch all dependencies, as if no package were installed.
: >"$tmp/status"
apt=(apt-get -qq -o Dir::State::status="$tmp/status" -o Dir::Cache="$tmp" -o Dir::Cache::archives="$tmp/debs" -o Debug::NoLocking=1
  -o APT::Install-Recommends=false -o APT::Sandbox::User="$(id -un)")
mkdir -p "$tmp/debs/partial" "$tmp/lists/partial"
if ! "${apt[@]}" install -y --download-only "${packages[@]}" >"$tmp/log" 2>&1; then
  apt+=(-o Dir::State::lists="$tmp/lists") # the machine's lists are empty or old
  if ! { "${apt[@]}" update && "${apt[@]}" install -y --download-only "${packages[@]}"; } >"$tmp/log" 2>&1; then
    cat "$tmp/log" >&2
    exit 1
  fi
fi

root=$tmp/root
mkdir -p "$root"/usr/{bin,sbin,lib,lib32,lib64,libx32} "$root/opt/lookup"
for dir in bin sbin lib lib32 lib64 libx32; do ln -s usr/$dir "$root/$dir"; done
unpack() {
  dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --keep-directory-symlink --no-same-owner --delay-directory-restore \
    --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' --exclude='./usr/share/fonts/*' --exclude='./usr/share/info/*'
}
export -f unpack
printf '%s\0' "$tmp"/debs/*.deb | xargs -0 -P 2 -I{} bash -c 'set -eo pipefail; unpack "$1" "$2"' unpack {} "$root"

# What the packages' scripts would do of all that, as far as it matters.
cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
printf "%s: files\n" passwd group services >"$root/etc/nsswitch.conf"; echo "hosts: files dns" >>"$root/etc/nsswitch.conf"
ln -s /usr/lib/jvm/default-java/bin/java "$root/usr/bin/java"
ln -sf dash "$root/usr/bin/sh"
for program in grep ip nc nslookup ps sed wget; do [ -e "$root/usr/bin/$program" ] || ln -s /bin/busybox "$root/usr/bin/$program"; done

musl-gcc -static -Os -s -o "$root/opt/lookup/musl" $programs/lookup.c
CGO_ENABLED=0 "${GO:-go}" build -buildvcs=false -trimpath -ldflags '-s -w' -o "$root/opt/lookup/go" ./$programs/lookup
cp $programs/lookup.py $programs/Lookup.java "$root/opt/lookup/"

# The Java program is compiled where it will run.
tar -C "$root" --owner=0 --group=0 -c . | import - "$image-base"
made=$(docker create --network none "$image-base" java -cp "/usr/share/java/*" org.eclipse.jdt.internal.compiler.batch.Main -1.8 -d /opt/lookup /opt/lookup/Lookup.java)
docker start -a "$made"
docker export "$made" >"$kept.new"
mv "$kept.new" "$kept"
import "$kept" "$image"

for old in $(docker image ls --format '{{.Repository}}:{{.Tag}}' --filter label=$label); do
  if [ "$old" != "$image" ]; then docker rmi "$old" >/dev/null 2>&1 || true; fi # a test may run with it
done
find "$cache" -name 'clients-*.tar*' ! -name "clients-$hash.tar" -delete

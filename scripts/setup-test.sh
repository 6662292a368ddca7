#!/usr/bin/env bash
# Installs what the tests need beside Go. Does nothing, fast, when all is there.
#
# On Debian and its kin, as root or with sudo that asks no password, it installs by apt-get. Elsewhere it names
# what is missing and goes on, since most tests run without; where CI=true a missing part is a failure.
set -euo pipefail

# Debian package, and the command that proves that it is there.
needs=(
  "gcc                 command -v cc"
  "libc6-dev           test -e /usr/include/stdlib.h"
  "bind9-dnsutils      command -v dig"
  "awscli              command -v aws"
  "curl                command -v curl"
  "python3             test -x /usr/bin/python3"
  "python3-flask       /usr/bin/python3 -c 'import flask'"
  "python3-requests    /usr/bin/python3 -c 'import requests'"
  "python3-boto3       /usr/bin/python3 -c 'import boto3'"
)

missing_packages() {
  local need package probe
  for need in "${needs[@]}"; do
    read -r package probe <<<"$need"
    case "$package:$(uname -s)" in
      libc6-dev:Darwin) continue ;; # macOS keeps the headers in its SDK
    esac
    bash -c "$probe" >/dev/null 2>&1 </dev/null || echo "$package"
  done
}

# as_root runs a command as root, or fails when that would take a password.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_packages() {
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0)
  echo "installing for the tests: $*"
  # The package lists of a fresh machine are empty or old: fetch them only when the installation needs them.
  as_root "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null 2>&1 && return
  echo "fetching the package lists first"
  as_root "${apt[@]}" update >/dev/null
  as_root "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null
}

missing=$(missing_packages | xargs)
if [ -z "$missing" ]; then exit 0; fi

if command -v apt-get >/dev/null && as_root true 2>/dev/null; then
  # shellcheck disable=SC2086  # a word a package
  install_packages $missing || echo "apt-get could not install all of it" >&2
  missing=$(missing_packages | xargs)
  if [ -z "$missing" ]; then exit 0; fi
fi

echo "missing for the tests, as Debian names it: $missing" >&2
echo "install it with: sudo apt-get install $missing" >&2
if [ "${CI:-}" = true ]; then
  echo "CI=true: a missing part is a failure" >&2
  exit 1
fi
echo "going on without; the tests that need it say so" >&2

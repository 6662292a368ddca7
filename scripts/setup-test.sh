#!/usr/bin/env bash
# Installs what the tests need in addition to Go, starts a container engine if none is available, and creates the image
# that the tests of containers use (scripts/test-image.sh). If everything exists, it returns quickly.
#
# On Debian and its derivatives, as root or with passwordless sudo, it installs packages with apt-get. On other systems it
# prints what is missing and continues, because most tests do not need it; with CI=true a missing part is a failure.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin # ordinary users do not have these in PATH

# Debian package, and the command that checks for it.
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
  "docker.io           command -v dockerd"
  "iptables            command -v iptables"
  "iproute2            command -v ip"
  "musl-tools          command -v musl-gcc"
)

missing_packages() {
  local need package probe
  for need in "${needs[@]}"; do
    read -r package probe <<<"$need"
    case "$package:$(uname -s)" in
      libc6-dev:Darwin) continue ;;                                           # macOS has the headers in its SDK
      docker.io:Darwin | iptables:Darwin | iproute2:Darwin | musl-tools:Darwin) continue ;; # only on Linux
    esac
    bash -c "$probe" >/dev/null 2>&1 </dev/null || echo "$package"
  done
}

# as_root runs a command as root, or fails if that needs a password.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Packages of services start them during installation. Without systemd that can fail, and the installation with it. This
# file prevents the start; start_engine starts the engine.
policy=/usr/sbin/policy-rc.d

install_packages() {
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0) mine=no
  echo "installing for the tests: $*"
  if [ ! -d /run/systemd/system ] && [ ! -e $policy ]; then
    mine=yes
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod +x $policy
  fi
  # The package lists of a new machine are empty or old. Fetch them only if the installation needs them.
  if ! as_root "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null 2>&1; then
    echo "fetching the package lists first"
    as_root "${apt[@]}" update >/dev/null || true # old lists may be sufficient
    as_root "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null || echo "apt-get could not install all packages" >&2
  fi
  if [ $mine = yes ]; then as_root rm -f $policy; fi
}

# engine_answers reports whether the engine that Docker's clients use responds.
engine_answers() {
  local host=${DOCKER_HOST:-unix:///var/run/docker.sock}
  case "$host" in
    unix://*) curl -fsS --max-time 5 --unix-socket "${host#unix://}" http://docker/_ping ;;
    tcp://*) curl -fsS --max-time 5 "http://${host#tcp://}/_ping" ;;
    *) docker info ;;
  esac >/dev/null 2>&1
}

# answers_within waits up to the given number of seconds for the engine.
answers_within() {
  local until=$((SECONDS + $1))
  until engine_answers; do
    if [ $SECONDS -ge $until ]; then return 1; fi
    sleep 0.2
  done
}

# start_engine starts the engine with the machine's service manager, or else directly.
start_engine() {
  local log=/var/log/rollcall-test-dockerd.log
  if [ -d /run/systemd/system ]; then
    as_root systemctl start docker >/dev/null 2>&1 && answers_within 30 && echo "started the container engine: systemctl start docker" && return
  elif [ -x /etc/init.d/docker ]; then
    # The service script also mounts the control groups if necessary.
    as_root service docker start >/dev/null 2>&1 && answers_within 30 && echo "started the container engine: service docker start" && return
  fi
  as_root sh -c "setsid dockerd >'$log' 2>&1 </dev/null &"
  answers_within 60 && echo "started the container engine: dockerd, which logs to $log" && return
  as_root tail -n 5 "$log" >&2
  return 1
}

missing=$(missing_packages | xargs)
if [ -n "$missing" ] && command -v apt-get >/dev/null && as_root true 2>/dev/null; then
  # shellcheck disable=SC2086  # one word per package
  install_packages $missing
  missing=$(missing_packages | xargs)
fi
engine=yes
if [ "$(uname -s)" = Linux ] && ! engine_answers; then
  engine=no
  if as_root true 2>/dev/null; then
    if as_root curl -fsS --max-time 5 --unix-socket /var/run/docker.sock http://docker/_ping >/dev/null 2>&1; then
      echo "the container engine rejects $(id -un); run sudo usermod -aG docker $(id -un), and log in again" >&2
    elif command -v dockerd >/dev/null && start_engine; then
      engine=yes
    fi
  fi
fi
image=yes
if [ "$(uname -s)" = Linux ] && [ $engine = yes ]; then "$(dirname "$0")/test-image.sh" || image=no; fi
if [ -z "$missing" ] && [ $engine = yes ] && [ $image = yes ]; then exit 0; fi

if [ -n "$missing" ]; then
  echo "missing for the tests (Debian packages): $missing" >&2
  echo "install it with: sudo apt-get install $missing" >&2
fi
if [ $engine = no ]; then echo "missing for the tests: a running container engine (docker info)" >&2; fi
if [ $image = no ]; then echo "missing for the tests: the image that scripts/test-image.sh creates" >&2; fi
if [ "${CI:-}" = true ]; then
  echo "a missing part is a failure because CI=true" >&2
  exit 1
fi
echo "continuing without it; the tests that need it are skipped and name it" >&2

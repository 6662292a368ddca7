#!/usr/bin/env bash
# Installs what the tests need beside Go, starts a container engine where none answers, and makes the image that the
# tests of containers use (scripts/test-image.sh). Does nothing, fast, when all is there.
#
# On Debian and its kin, as root or with sudo that asks no password, it installs by apt-get. Elsewhere it names
# what is missing and goes on, since most tests run without; where CI=true a missing part is a failure.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin # ordinary users have not got these

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
      libc6-dev:Darwin) continue ;;                                           # macOS keeps the headers in its SDK
      docker.io:Darwin | iptables:Darwin | iproute2:Darwin | musl-tools:Darwin) continue ;; # Linux's own
    esac
    bash -c "$probe" >/dev/null 2>&1 </dev/null || echo "$package"
  done
}

# as_root runs a command as root, or fails when that would take a password.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Packages of services start them when they are installed. Where no systemd runs that may fail, and the package with
# it; the usual way to say no is this file. The engine is started below.
policy=/usr/sbin/policy-rc.d

install_packages() {
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0) mine=no
  echo "installing for the tests: $*"
  if [ ! -d /run/systemd/system ] && [ ! -e $policy ]; then
    mine=yes
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod +x $policy
  fi
  # The package lists of a fresh machine are empty or old: fetch them only when the installation needs them.
  if ! as_root "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null 2>&1; then
    echo "fetching the package lists first"
    as_root "${apt[@]}" update >/dev/null || true # old lists may do
    as_root "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null || echo "apt-get could not install all of it" >&2
  fi
  if [ $mine = yes ]; then as_root rm -f $policy; fi
}

# engine_answers asks the engine that Docker's clients ask.
engine_answers() {
  local host=${DOCKER_HOST:-unix:///var/run/docker.sock}
  case "$host" in
    unix://*) curl -fsS --max-time 5 --unix-socket "${host#unix://}" http://docker/_ping ;;
    tcp://*) curl -fsS --max-time 5 "http://${host#tcp://}/_ping" ;;
    *) docker info ;;
  esac >/dev/null 2>&1
}

# answers_within waits for the engine while it starts.
answers_within() {
  local until=$((SECONDS + $1))
  until engine_answers; do
    if [ $SECONDS -ge $until ]; then return 1; fi
    sleep 0.2
  done
}

# start_engine starts the engine as this machine starts services, else by itself.
start_engine() {
  local log=/var/log/rollcall-test-dockerd.log
  if [ -d /run/systemd/system ]; then
    as_root systemctl start docker >/dev/null 2>&1 && answers_within 30 && echo "started the container engine: systemctl start docker" && return
  elif [ -x /etc/init.d/docker ]; then
    # It also mounts the control groups where nobody has.
    as_root service docker start >/dev/null 2>&1 && answers_within 30 && echo "started the container engine: service docker start" && return
  fi
  as_root sh -c "setsid dockerd >'$log' 2>&1 </dev/null &"
  answers_within 60 && echo "started the container engine: dockerd, which logs to $log" && return
  as_root tail -n 5 "$log" >&2
  return 1
}

missing=$(missing_packages | xargs)
if [ -n "$missing" ] && command -v apt-get >/dev/null && as_root true 2>/dev/null; then
  # shellcheck disable=SC2086  # a word a package
  install_packages $missing
  missing=$(missing_packages | xargs)
fi
engine=yes
if [ "$(uname -s)" = Linux ] && ! engine_answers; then
  engine=no
  if as_root true 2>/dev/null; then
    if as_root curl -fsS --max-time 5 --unix-socket /var/run/docker.sock http://docker/_ping >/dev/null 2>&1; then
      echo "the container engine answers root, not $(id -un): sudo usermod -aG docker $(id -un), and log in again" >&2
    elif command -v dockerd >/dev/null && start_engine; then
      engine=yes
    fi
  fi
fi
image=yes
if [ "$(uname -s)" = Linux ] && [ $engine = yes ]; then "$(dirname "$0")/test-image.sh" || image=no; fi
if [ -z "$missing" ] && [ $engine = yes ] && [ $image = yes ]; then exit 0; fi

if [ -n "$missing" ]; then
  echo "missing for the tests, as Debian names it: $missing" >&2
  echo "install it with: sudo apt-get install $missing" >&2
fi
if [ $engine = no ]; then echo "missing for the tests: a container engine that answers (docker info)" >&2; fi
if [ $image = no ]; then echo "missing for the tests: the image of scripts/test-image.sh" >&2; fi
if [ "${CI:-}" = true ]; then
  echo "CI=true: a missing part is a failure" >&2
  exit 1
fi
echo "going on without; the tests that need it say so" >&2

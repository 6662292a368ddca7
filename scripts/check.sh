#!/usr/bin/env bash
# Runs the checks of the project one after the other, all of them also when one fails, and ends with one line:
# PASS or FAIL, and what failed.
#
#   scripts/check.sh lint   formatting, vet, staticcheck
#   scripts/check.sh all    these, the builds for this system and macOS, and all tests with the race detector
#
# shellcheck disable=SC2317,SC2329  # step calls the functions
set -uo pipefail
cd "$(dirname "$0")/.." || exit

go=${GO:-go}
failed=()
notes=()
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# step TITLE COMMAND…  runs a command, says what runs and for how long, and notes whether it failed.
step() {
  local title=$1 began=$SECONDS
  shift
  echo "== $title"
  # A sign of life during long silences: a first compilation takes minutes. Its sleep holds none of our
  # outputs, so that nobody who reads them waits for it.
  (while sleep 30 >/dev/null 2>&1; do echo "   … $title: $((SECONDS - began)) s"; done) &
  local heartbeat=$!
  "$@"
  local status=$?
  kill "$heartbeat" && wait "$heartbeat" 2>/dev/null
  if [ $status = 0 ]; then
    echo "   ok, $((SECONDS - began)) s"
  else
    echo "   FAILED, $((SECONDS - began)) s"
    failed+=("$title")
  fi
}

formatting() {
  local files
  files=$(scripts/gofiles.sh | xargs -0 gofmt -l) || return
  if [ -z "$files" ]; then return 0; fi
  printf 'not as gofmt writes it (make fmt):\n%s\n' "$files"
  return 1
}

staticcheck() { $go tool staticcheck ./...; }

darwin() { GOOS=darwin CGO_ENABLED=0 $go build -buildvcs=false ./...; }

# At most two packages at once: whole servers run in these tests, and some measure time. First those that take the longest,
# most of it waiting: the others run beside them.
tests() {
  local race=-race
  if ! command -v "$($go env CC)" >/dev/null; then
    if [ "${CI:-}" = true ]; then echo "the race detector needs a C compiler: apt-get install gcc libc6-dev"; return 1; fi
    notes+=("without the race detector, which needs a C compiler")
    race=
  fi
  $go test ${race:+"$race"} -p 2 -timeout 20m ./test/... ./... 2>&1 | tee "$tmp/tests" | grep -v --line-buffered '\[no test files\]$'
  return "${PIPESTATUS[0]}"
}

step "gofmt" formatting
step "go vet" "$go" vet ./...
step "staticcheck" staticcheck
case "${1:-all}" in
  lint) ;;
  all)
    step "build" make --no-print-directory build
    step "build for macOS" darwin
    step "go test" tests
    notes+=("$(grep -c '^ok' "$tmp/tests") packages passed")
    broken=$(grep -c $'^FAIL\t' "$tmp/tests")
    if [ "$broken" != 0 ]; then notes+=("$broken failed"); fi
    ;;
  *)
    echo "usage: scripts/check.sh lint|all" >&2
    exit 2
    ;;
esac

summary=$(printf '; %s' "${notes[@]+"${notes[@]}"}")
summary=${summary#; }
if [ ${#failed[@]} = 0 ]; then
  echo "PASS in $SECONDS s${summary:+: $summary}"
  exit 0
fi
echo "FAIL in $SECONDS s: $(printf '%s, ' "${failed[@]}" | sed 's/, $//')${summary:+ ($summary)}"
exit 1

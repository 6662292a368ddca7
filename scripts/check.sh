#!/usr/bin/env bash
# Runs the project's checks in order. It runs all of them even if one fails, and ends with one line: PASS or FAIL, with
# the names of the checks that failed.
#
#   scripts/check.sh lint   formatting, vet, golangci-lint, spelling of documents
#   scripts/check.sh quick  lint, the rules of the repository, and the tests of packages with uncommitted changes
#   scripts/check.sh all    lint, the builds for this system and macOS, and all tests with the race detector
#
# shellcheck disable=SC2317,SC2329  # step calls the functions
set -uo pipefail
cd "$(dirname "$0")/.." || exit

go=${GO:-go}
failed=()
notes=()
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# step TITLE COMMAND…  runs a command, prints its title and duration, and records whether it failed.
step() {
  local title=$1 began=$SECONDS
  shift
  echo "== $title"
  # Print progress during long silences: the first compilation takes minutes. The sleep inherits none of this script's
  # outputs, so that a reader of them does not wait for it.
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
  printf 'files to format with make fmt:\n%s\n' "$files"
  return 1
}

# The linters are pinned in a separate module, so that their dependencies stay out of the product's go.mod.
tool() { "$go" tool -modfile=tools/go.mod "$@"; }

golangci() { tool golangci-lint run ./...; }

spelling() { git ls-files -z '*.md' '*.sh' Makefile | xargs -0 "$go" tool -modfile=tools/go.mod misspell -locale US -error; }

# changed lists the packages with uncommitted changes.
changed() {
  git status --porcelain --untracked-files=all -- '*.go' | awk '{ print $NF }' | xargs -rn1 dirname | sort -u | while read -r dir; do
    if compgen -G "$dir/*.go" >/dev/null && [[ $dir != *testdata* ]]; then echo "./$dir"; fi
  done
}

changed_tests() {
  local packages
  packages=$(changed | grep -v '^./test/repo$')
  # shellcheck disable=SC2086  # one word for each package
  "$go" test ./test/repo $packages
}

darwin() { GOOS=darwin CGO_ENABLED=0 $go build -buildvcs=false ./...; }

# Run at most two packages at once: these tests start whole servers, and some measure time. Start the longest ones first;
# they mostly wait, so that the others run at the same time.
tests() {
  local race=-race
  if ! command -v "$($go env CC)" >/dev/null; then
    if [ "${CI:-}" = true ]; then echo "the race detector needs a C compiler; on Debian: apt-get install gcc libc6-dev"; return 1; fi
    notes+=("without the race detector, since there is no C compiler")
    race=
  fi
  $go test ${race:+"$race"} -p 2 -timeout 20m ./test/... ./... 2>&1 | tee "$tmp/tests" | grep -v --line-buffered '\[no test files\]$'
  return "${PIPESTATUS[0]}"
}

step "gofmt" formatting
step "go vet" "$go" vet ./...
step "golangci-lint" golangci
step "spelling" spelling
case "${1:-all}" in
  lint) ;;
  quick) step "go test" changed_tests ;;
  all)
    step "build" make --no-print-directory build
    step "build for macOS" darwin
    step "go test" tests
    notes+=("$(grep -c '^ok' "$tmp/tests") packages passed")
    broken=$(grep -c $'^FAIL\t' "$tmp/tests")
    if [ "$broken" != 0 ]; then notes+=("$broken failed"); fi
    ;;
  *)
    echo "usage: scripts/check.sh lint|quick|all" >&2
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

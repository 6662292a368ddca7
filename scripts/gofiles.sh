#!/usr/bin/env bash
# Lists the project's Go files, separated by NUL: the files that git tracks, or all files in a source tree without git.
set -euo pipefail
cd "$(dirname "$0")/.."

if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  git ls-files -z '*.go' | while IFS= read -rd '' file; do
    if [ -e "$file" ]; then printf '%s\0' "$file"; fi
  done
else
  find . -name '*.go' -not -path '*/node_modules/*' -print0
fi

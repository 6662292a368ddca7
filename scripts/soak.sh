#!/usr/bin/env bash
# Makes 200 deployments under load (TestDeploymentsUnderLoad), which takes about 15 minutes with processes and longer with
# containers. Then repeats all tests in random order until the given minutes have passed or a round fails.
#
#   scripts/soak.sh MINUTES
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=${1:?"usage: scripts/soak.sh MINUTES"}
echo "== 200 deployments under load"
"${GO:-go}" test ./test/promises -count=1 -v -run '^TestDeploymentsUnderLoad$' -timeout 2h -args -deployments 200
echo "== 200 deployments of containers under load"
"${GO:-go}" test ./test/docker -count=1 -v -run '^TestDeploymentsUnderLoad$' -timeout 3h -args -deployments 200

until=$((SECONDS + minutes * 60))
round=0
while [ $SECONDS -lt $until ]; do
  round=$((round + 1))
  echo "== round $round, $(((until - SECONDS + 59) / 60)) minutes to go"
  if ! "${GO:-go}" test -count=1 -shuffle=on -p 2 -timeout 15m ./...; then
    echo "FAIL in round $round, after $SECONDS s; the line with -test.shuffle above contains the seed to repeat the order"
    exit 1
  fi
done
echo "PASS: $round rounds in $SECONDS s"

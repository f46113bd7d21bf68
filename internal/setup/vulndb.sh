#!/usr/bin/env bash
# Writes the Go vulnerability database into .cache/vulndb, in the form that govulncheck reads.
#
#   vulndb.sh VERSION     a version of the module golang.org/x/vulndb, or "latest"
#
# The database comes through the Go module proxy like any dependency, so that a check needs no
# other service and gives the same result for the same version.
set -euo pipefail

cd "$(dirname "$0")/../.."
module=golang.org/x/vulndb
# Asked from a folder outside the module: the database is no dependency of Relish.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
read -r version dir < <(cd "$work" && go mod download -json "$module@$1" |
  python3 -c 'import json,sys; m = json.load(sys.stdin); print(m["Version"], m["Dir"])')

[ "$(cat .cache/vulndb/version 2>/dev/null)" = "$version" ] && exit 0
printf 'writing the vulnerability database %s\n' "$version" >&2
(cd "$work" && GOFLAGS= go run "$module/cmd/indexdb@$version" -vulns "$dir/data/osv" -out "$work/db")
printf '%s\n' "$version" >"$work/db/version"
mkdir -p .cache
rm -rf .cache/vulndb
mv "$work/db" .cache/vulndb

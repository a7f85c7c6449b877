#!/usr/bin/env bash
# Builds Jaeger from its Go module into DIRECTORY/jaeger. Needs Go; minutes with a cold build cache.
# Built inside the module's own folder, so that its own go.sum vouches for what it needs.
set -euo pipefail
into=${1:?usage: build.sh DIRECTORY}
version=v1.76.0
command -v go >/dev/null || { echo "make jaeger needs Go (https://go.dev/doc/install)" >&2; exit 1; }
mkdir -p "$into"
into=$(cd "$into" && pwd)
module=$(go mod download -json "github.com/jaegertracing/jaeger@$version" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",$/\1/p')
(cd "$module" && go build -trimpath -o "$into/jaeger.part" ./cmd/jaeger)
mv "$into/jaeger.part" "$into/jaeger"
echo "Jaeger $version: $into/jaeger"

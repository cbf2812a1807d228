#!/bin/sh
# Brings what the second judge needs, at the versions and hashes of
# package-lock.json, and compiles it into dist. Where all of that is there already
# it does nothing. Node and npm are mls/interop/install.sh's to bring.
set -eu
cd "$(dirname "$0")"
LC_ALL=C
export LC_ALL

for tool in node npm; do
	command -v "$tool" >/dev/null 2>&1 || { echo "second judge: $tool is missing" >&2; exit 1; }
done

lock=$(sha256sum package-lock.json | cut -d' ' -f1)
if [ "$(cat node_modules/.installed 2>/dev/null)" != "$lock" ]; then
	# No scripts of packages run, and an unreachable registry is known soon.
	npm ci --ignore-scripts --no-audit --no-fund \
		--fetch-retries=1 --fetch-retry-mintimeout=1000 --fetch-timeout=60000 >&2
	printf '%s\n' "$lock" >node_modules/.installed
fi

sources=$(cat package-lock.json tsconfig.json src/*.ts test/*.ts | sha256sum | cut -d' ' -f1)
if [ "$(cat dist/.compiled 2>/dev/null)" != "$sources" ]; then
	rm -rf dist
	node node_modules/typescript/bin/tsc -p .
	printf '%s\n' "$sources" >dist/.compiled
fi

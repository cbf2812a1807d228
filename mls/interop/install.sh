#!/bin/sh
# Brings what the tests of this folder need: Node (Debian's is new enough) and the
# two engines, at the versions and hashes of package-lock.json. Where they are
# there already it does nothing.
set -eu
cd "$(dirname "$0")"

have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

if ! have node || ! have npm; then
	have apt-get || { echo "interop: node and npm are missing, and this is no Debian" >&2; exit 1; }
	echo "interop: installing nodejs and npm" >&2
	as_root apt-get update -q >&2
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends nodejs npm >&2
fi

lock=$(sha256sum package-lock.json | cut -d' ' -f1)
if [ "$(cat node_modules/.installed 2>/dev/null)" != "$lock" ]; then
	# No scripts of packages run, and an unreachable registry is known soon.
	npm ci --ignore-scripts --no-audit --no-fund \
		--fetch-retries=1 --fetch-retry-mintimeout=1000 --fetch-timeout=60000 >&2
	printf '%s\n' "$lock" >node_modules/.installed
fi

#!/bin/sh
# Brings what the tests of this folder need: Chromium, as Debian has it. Where it
# is there already it does nothing.
set -eu

have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

if ! have chromium; then
	have apt-get || { echo "verifier page: chromium is missing, and this is no Debian" >&2; exit 1; }
	echo "verifier page: installing chromium" >&2
	as_root apt-get update -q >&2
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends chromium >&2
fi

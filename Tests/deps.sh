#!/usr/bin/env bash
# Installs the named Debian packages where they are missing, and says in one line each what else is.
set -u
export DEBIAN_FRONTEND=noninteractive
missing=()
for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
failed=0
say() { echo "deps: $*" >&2; failed=1; }
if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ]; then
        say "missing packages (run as root, or: apt-get install ${missing[*]})"
    else
        echo "deps: installing ${missing[*]}"
        { apt-get install -y -q "${missing[@]}" || { apt-get update -q && apt-get install -y -q "${missing[@]}"; }; } \
            >/tmp/causeway-deps.$$ 2>&1 || { tail -n 5 /tmp/causeway-deps.$$ >&2; say "apt-get could not install ${missing[*]}"; }
        rm -f /tmp/causeway-deps.$$
    fi
fi
version=$("${SWIFT:-swift}" --version 2>/dev/null | grep -oE 'Swift version [0-9]+\.[0-9]+' | grep -oE '[0-9]+\.[0-9]+' | head -n 1)
case "$version" in
    "") say "no Swift toolchain on PATH: Swift 6.3 or later is needed" ;;
    [0-5].* | 6.[0-2]) say "Swift $version is too old: 6.3 or later is needed" ;;
esac
[ "$(id -u)" -eq 0 ] || say "not root: network namespaces and TUN devices need it"
[ -c /dev/net/tun ] || say "/dev/net/tun is missing: load the tun module (modprobe tun)"
exit "$failed"

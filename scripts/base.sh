#!/usr/bin/env bash
# Makes a base image by debootstrap, for a machine that can pull none, and prints its name.
# It is this machine's own Debian or Ubuntu release, from the mirror that its apt uses.
#
# The unpacked system is kept under ~/.cache/billing-notebooks as base-SUITE.tar, since making
# it takes most of a minute; remove the file to have it made anew. Needs root and buildah.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
export STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}
PATH=$PATH:/usr/sbin:/sbin

suite=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
name=localhost/billing-base:$suite
cache=${XDG_CACHE_HOME:-$HOME/.cache}/billing-notebooks
tar=$cache/base-$suite.tar
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ ! -s "$tar" ]; then
    [ "$(id -u)" -eq 0 ] || stop "A base image by debootstrap can only be made as root."
    command -v debootstrap >/dev/null || stop "A base image needs debootstrap; as root: apt-get install debootstrap"
    # Of what apt is configured for, the distribution itself: its main component under its codename.
    # shellcheck disable=SC2016 # apt-get fills in $(SITE)
    mirror=$(apt-get indextargets --format '$(SITE)' "Release: $suite" 'Component: main' 'Created-By: Packages' | sed -n 1p)
    # shellcheck disable=SC2016
    components=$(apt-get indextargets --format '$(COMPONENT)' "Site: $mirror" "Release: $suite" 'Created-By: Packages' | sort -u | paste -s -d ,)
    [ -n "$mirror" ] || stop "apt's sources name no mirror of $suite, from which a base image could be made."
    say "Making a base image of $suite by debootstrap…"
    debootstrap --variant=minbase --components="$components" "$suite" "$work/root" "$mirror" >"$work/log" 2>&1 ||
        { tail -n 20 "$work/log" >&2; stop "debootstrap failed; its last lines stand above."; }
    rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
    mkdir -p "$cache"
    tar --numeric-owner -C "$work/root" -cf "$tar.new" .
    mv "$tar.new" "$tar"
    rm -rf "$work/root"
fi

if ! buildah inspect --type image "$name" >/dev/null 2>&1; then
    mkdir "$work/context"
    ln "$tar" "$work/context/base.tar" 2>/dev/null || cp "$tar" "$work/context/base.tar"
    printf 'FROM scratch\nADD base.tar /\n' >"$work/context/Dockerfile"
    buildah bud --quiet --isolation chroot --pull-never --tag "$name" "$work/context" >/dev/null
fi
echo "$name"

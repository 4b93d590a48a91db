#!/usr/bin/env bash
# The container image of a commit: builds it, runs `billing` in it, shows what its records name.
#
#   scripts/image.sh build [OPTION…]     the image of HEAD; options go to the building tool;
#                                        prints name@digest, kept in build/image.txt
#   scripts/image.sh run ARGUMENT…       `billing ARGUMENT…` inside the last image built, with the
#                                        current folder as working folder
#   scripts/image.sh demo                `billing demo` inside the image of HEAD, in build/demo,
#                                        then the digest in its record
#   scripts/image.sh remove              removes the last image built
#
# Whichever of docker, podman and buildah works here is used; IMAGE_TOOL=… chooses. BASE=… is
# another base image, IMAGE_NAME=… another name than billing-notebooks; ALLOW_DIRTY=1 builds
# HEAD though files differ from it.
#
# An image cannot hold its own digest, so `run` reads it from the engine and tells it through
# BILLING_IMAGE, with the build id that the engine reads from the image's label; the program inside
# compares that with its own. Docker computes a digest only when an image is pushed; until then its
# image id, a sha256 as well, stands for it.
set -euo pipefail
here=$PWD
cd "$(dirname "$0")/.."
root=$PWD
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

title=${IMAGE_NAME:-billing-notebooks}
# Without an engine, as inside another container, no other storage of buildah's works.
export STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}

find_tool() {
    local tool
    for tool in ${IMAGE_TOOL:-docker podman buildah}; do
        # docker's and podman's `info` fail where the command is there and its engine is not.
        if "$tool" info >/dev/null 2>&1; then
            echo "$tool"
            return
        fi
    done
    stop "No ${IMAGE_TOOL:-docker, podman or buildah} works here; as root: apt-get install buildah"
}

# What buildah is told besides: no engine, the base that can be had, the network as it is here.
buildah_options() {
    options+=(--isolation chroot)
    if [ -z "${BASE:-}" ]; then
        local wanted stand_in
        wanted=$(sed -n 's/^ARG BASE=//p' Dockerfile)
        if ! timeout 300 buildah pull --quiet "$wanted" >/dev/null 2>&1; then
            say "The base image $wanted cannot be pulled here; one made by debootstrap stands in."
            stand_in=$(scripts/base.sh)
            options+=(--build-arg "BASE=$stand_in")
        fi
    fi
    # A build reaches the network by the certificates that this machine trusts.
    local bundle=/etc/ssl/certs/ca-certificates.crt inside=/run/ca-certificates.crt
    if [ -r "$bundle" ]; then
        options+=(-v "$bundle:$inside:ro" --build-arg "PIP_CERT=$inside" --build-arg "SSL_CERT_FILE=$inside")
    fi
}

digest_of() { # tool, image
    case $1 in
        docker) docker image inspect --format "{{if .RepoDigests}}{{index .RepoDigests 0}}{{else}}$title@{{.Id}}{{end}}" "$2" ;;
        podman) podman image inspect --format "localhost/$title@{{.Digest}}" "$2" ;;
        buildah) buildah inspect --type image --format "localhost/$title@{{.FromImageDigest}}{{\"\\n\"}}" "$2" ;;
    esac
}

build_id_of() { # tool, image
    local label='index .Config.Labels "billing.build-id"'
    if [ "$1" = buildah ]; then
        buildah inspect --type image --format "{{index .OCIv1.Config.Labels \"billing.build-id\"}}" "$2"
    else
        "$1" image inspect --format "{{$label}}" "$2"
    fi
}

build() { # options for the tool
    local tool commit name python options=()
    if [ -n "$(git status --porcelain)" ] && [ "${ALLOW_DIRTY:-}" != 1 ]; then
        stop "Files differ from the commit that the image would be; commit them, or set ALLOW_DIRTY=1 to build the commit without them."
    fi
    tool=$(find_tool)
    commit=$(git rev-parse HEAD)
    name=$title:${commit:0:12}
    context=$(mktemp -d)
    trap 'rm -rf "$context"' EXIT
    git archive HEAD | tar -x -C "$context"
    # An image has no repository, and its records hold the program's source at the commit.
    python=$(find_python) || stop "No Python from 3.11 to 3.14 found, which packs the program's source."
    PYTHONPATH=. "$python" -c 'import sys; from pathlib import Path; from billing_lib import program
program.write_packed(program.pack_source(Path.cwd(), sys.argv[1]), Path(sys.argv[2]))' \
        "$commit" "$context/billing_lib/program_files/program"
    if [ -n "${BASE:-}" ]; then options+=(--build-arg "BASE=$BASE"); fi
    if [ "$tool" = buildah ]; then buildah_options; fi
    options+=(--build-arg "COMMIT=$commit" --build-arg "BUILD_ID=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')")
    options+=(--tag "$name")
    mkdir -p build
    say "Building $name with $tool; build/image.log tells how far it is…"
    if ! "$tool" build "${options[@]}" "$@" "$context" >build/image.log 2>&1; then
        tail -n 30 build/image.log >&2
        stop "The image was not built; the end of build/image.log stands above."
    fi
    digest_of "$tool" "$name" | tee build/image.txt
}

built() {
    [ -s "$root/build/image.txt" ] || stop "No image has been built; run scripts/image.sh build"
    cat "$root/build/image.txt"
}

# What docker knows an image by: its digest once it has been pushed, its bare id until then.
docker_name() {
    if docker image inspect "$1" >/dev/null 2>&1; then echo "$1"; else echo "${1#*@}"; fi
}

# Prints the settings as commands of a shell.
settings_as_shell() {
    local name quote="'"
    for name in $(compgen -e BILLING_); do
        printf "export %s='%s'\n" "$name" "${!name//$quote/$quote\\$quote$quote}"
    done
}

run() {
    local tool image name options build status=0
    image=$(built)
    tool=$(find_tool)
    name=$image
    if [ "$tool" = docker ]; then name=$(docker_name "$image"); fi
    image=$(digest_of "$tool" "$name")
    build=$(build_id_of "$tool" "$name")
    # Inside, too, the ledger's events name who works here, and settings hold as they do here.
    options=(--user "$(id -u):$(id -g)" -v "$here:/work" -e "USER=$(id -un)" -e "LOGNAME=$(id -un)")
    export BILLING_IMAGE=$image BILLING_IMAGE_BUILD=$build
    BILLING_IMAGE_TOLD_BY="scripts/image.sh, by $("$tool" --version | head -n 1)"
    export BILLING_IMAGE_TOLD_BY
    # Everybody may list processes with their arguments: a setting's value, such as a password, goes
    # by the environment, and where buildah takes none, by a file.
    if [ "$tool" != buildah ]; then
        for name in $(compgen -e BILLING_); do options+=(-e "$name"); done
    fi
    case $tool in
        buildah)
            container=$(buildah from --pull-never "$image")
            kept=$(mktemp -d)
            trap 'buildah rm "$container" >/dev/null; rm -rf "$kept"' EXIT
            (umask 077 && settings_as_shell >"$kept/settings")
            # buildah 1.28 ends with a status of its own where it cannot clean up behind a command.
            # shellcheck disable=SC2016 # expanded inside
            buildah run --isolation chroot "${options[@]}" -v "$kept:/run/billing-status" "$container" -- \
                sh -c '. /run/billing-status/settings; "$@"; echo $? >/run/billing-status/status' sh billing "$@" || status=$?
            if [ -s "$kept/status" ]; then status=$(cat "$kept/status"); fi
            exit "$status"
            ;;
        podman)
            if [ "$(id -u)" -ne 0 ]; then options+=(--userns keep-id); fi
            podman run --rm "${options[@]}" "$image" "$@"
            ;;
        docker) docker run --rm "${options[@]}" "$(docker_name "$image")" "$@" ;;
    esac
}

demo() { # options for the tool, should it build
    local name record
    name=$title:$(git rev-parse HEAD | cut -c -12)
    mkdir -p build/demo
    digest_of "$(find_tool)" "$name" >build/image.txt 2>/dev/null || build "$@"
    here=$root/build/demo
    (run demo)
    for record in "$here"/billing-demo/runs/*/*/*/data/environment.json; do
        say "$record names $(grep -o '[^"]*@sha256:[0-9a-f]*' "$record")"
    done
}

remove() {
    local tool image
    tool=$(find_tool)
    image=$(built)
    if [ "$tool" = docker ]; then image=$(docker_name "$image"); fi
    "$tool" rmi --force "$image" >/dev/null
    rm build/image.txt
}

command=${1:-}
[ "$#" -eq 0 ] || shift
case $command in
    build | run | demo | remove) "$command" "$@" ;;
    *) stop "usage: scripts/image.sh build [OPTION…] | run ARGUMENT… | demo | remove" ;;
esac

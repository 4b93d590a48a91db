#!/usr/bin/env bash
# The container image of a commit: builds it, runs `billing` in it, shows what its records name.
#
#   scripts/image.sh build [OPTION…]     the image of HEAD; options go to the building tool;
#                                        prints name@digest, kept in build/image.txt
#   scripts/image.sh run ARGUMENT…       `billing ARGUMENT…` inside the last image built, with the
#                                        current folder as working folder
#   scripts/image.sh demo                `billing demo` inside the image of HEAD, in build/demo,
#                                        then the digest in its record
#   scripts/image.sh compose             the images of deploy/compose.yml by digest, the last one
#                                        built among them, into deploy/.env
#   scripts/image.sh remove              removes the last image built
#
# The base image is the Dockerfile's, by the digest that its tag has in the registry at that moment;
# the image's label and the records made in it name it.
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

# Prints name@digest of an image of Docker Hub; fails if it cannot be pulled.
pull() { # tool, image
    timeout 300 "$1" pull --quiet "docker.io/library/$2" >/dev/null 2>&1 || return 1
    case $1 in
        buildah) buildah inspect --type image --format "docker.io/library/${2%%:*}@{{.FromImageDigest}}{{\"\\n\"}}" "docker.io/library/$2" ;;
        *) "$1" image inspect --format '{{index .RepoDigests 0}}' "docker.io/library/$2" ;;
    esac
}

# Prints the base to build on: the Dockerfile's by digest, or what stands in where buildah has none.
base_of() { # tool
    local wanted
    wanted=$(sed -n 's/^ARG BASE=//p' Dockerfile)
    if pull "$1" "$wanted"; then return; fi
    if [ "$1" != buildah ]; then
        say "The base image $wanted cannot be pulled here, so it is named by its tag alone."
        echo "$wanted"
        return
    fi
    say "The base image $wanted cannot be pulled here; one made by debootstrap stands in."
    scripts/base.sh
}

# What buildah is told besides: no engine, the network as it is here.
buildah_options() {
    options+=(--isolation chroot)
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

label_of() { # tool, image, label
    if [ "$1" = buildah ]; then
        buildah inspect --type image --format "{{index .OCIv1.Config.Labels \"$3\"}}" "$2"
    else
        "$1" image inspect --format "{{index .Config.Labels \"$3\"}}" "$2"
    fi
}

build() { # options for the tool
    local tool commit name python base options=()
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
    base=${BASE:-$(base_of "$tool")}
    options+=(--build-arg "BASE=$base")
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
    build=$(label_of "$tool" "$name" billing.build-id)
    # Inside, too, the ledger's events name who works here, and settings hold as they do here.
    options=(--user "$(id -u):$(id -g)" -v "$here:/work" -e "USER=$(id -un)" -e "LOGNAME=$(id -un)")
    export BILLING_IMAGE=$image BILLING_IMAGE_BUILD=$build
    BILLING_IMAGE_TOLD_BY="scripts/image.sh, by $("$tool" --version | head -n 1), \
on $(label_of "$tool" "$name" org.opencontainers.image.base.name)"
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

compose() {
    local tool image name ledger proxy
    image=$(built)
    tool=$(find_tool)
    name=$image
    if [ "$tool" = docker ]; then name=$(docker_name "$image"); fi
    ledger=$(pull "$tool" postgres:15-bookworm) || stop "postgres:15-bookworm cannot be pulled here."
    proxy=$(pull "$tool" caddy:2) || stop "caddy:2 cannot be pulled here."
    printf '%s\n' "BILLING_IMAGE=$image" \
        "BILLING_IMAGE_BUILD=$(label_of "$tool" "$name" billing.build-id)" \
        "BASE_IMAGE=$(label_of "$tool" "$name" org.opencontainers.image.base.name)" \
        "LEDGER_IMAGE=$ledger" "PROXY_IMAGE=$proxy" | tee deploy/.env
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
    build | run | demo | compose | remove) "$command" "$@" ;;
    *) stop "usage: scripts/image.sh build [OPTION…] | run ARGUMENT… | demo | compose | remove" ;;
esac

# shellcheck shell=bash
# Where things live and how progress is told; sourced by every script of e2e/.

E2E_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
: "${HOME:=/root}"
# What is slow to make and safe to keep: binaries, guest root file systems, image archives.
: "${E2E_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/containerssh-e2e}"
# What one cluster owns; `cluster down` removes it. Short, since unix sockets below it have 107 characters.
: "${E2E_STATE:=/var/lib/containerssh-e2e}"

# A minimal environment (cron, sudo, CI) often lacks sbin, where iptables, ip and runc live; go sits outside the default path.
PATH=$E2E_CACHE/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/go/bin
export PATH

# EPOCHREALTIME's decimal separator follows the locale.
now_us() { echo "${EPOCHREALTIME/[.,]/}"; }
E2E_STARTED_US=${E2E_STARTED_US:-$(now_us)}

# Progress goes to stderr: stdout is for what `cluster env` prints to be evaluated.
step() {
    local ms=$((($(now_us) - E2E_STARTED_US) / 1000))
    printf '[%4d.%ds] %s\n' $((ms / 1000)) $((ms % 1000 / 100)) "$*" >&2
}

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# wait_for SECONDS WHAT COMMAND...: polls COMMAND until it succeeds.
wait_for() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= deadline)); then
            # Once more, now to be seen.
            "$@" >&2 || die "$what: not within its time limit"
            return 0
        fi
        sleep 0.1
    done
}

# hash_of PATH...: one short hash over names, modes, link targets and contents.
hash_of() {
    local path
    for path in "$@"; do
        if [[ -d $path ]]; then
            (cd "$path" && find . -printf '%y %m %p %l\n' | LC_ALL=C sort && find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum)
        else
            stat -c '%a %n' "$path" | sed 's,[^ ]*/,,'
            sha256sum <"$path"
        fi
    done | sha256sum | cut -c1-16
}

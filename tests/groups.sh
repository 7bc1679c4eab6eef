# Groups of tests, and what several scripts that run them need. Sourced, not run. The tests may use all variables but those that begin
# with group_, passed, failed and failures.

passed=0 failed=0 failures=

group_passed() {
    passed=$((passed + 1))
    echo "$1"
}

group_failed() {
    failed=$((failed + 1)) failures="$failures, $group_name"
    echo "$1"
}

# Exit code 77 means that the group cannot run here, for the reason $2. No program that fails exits with it, and tests of Automake
# and Meson mean the same by it.
group_or_skip() {
    group_name=$1 group_reason=$2
    shift 2
    echo "== $group_name: $*"
    group_start=$(date +%s)
    "$@"
    case $?:$group_reason in
    0:*) group_passed "== $group_name: ok, $(($(date +%s) - group_start)) s" ;;
    77:?*) skip "$group_name" "$group_reason" ;;
    *) group_failed "== $group_name: FAILED" ;;
    esac
}

# As group_or_skip, but it can always run.
group() {
    group_name=$1
    shift
    group_or_skip "$group_name" "" "$@"
}

# A group of one test, which shows what it printed only if it failed.
check() {
    group_name=$1
    shift
    if group_output=$("$@" 2>&1); then
        group_passed "ok: $group_name"
    else
        group_failed "FAILED: $group_name"
        printf '%s\n' "$group_output" | sed 's/^/    /'
    fi
}

skip() {
    echo "== $1: skipped: $2"
}

# Starts functions that run beside the groups that follow, one after the other; the group `ends NAME` waits for one.
beside() {
    echo "== beside the next groups: $*"
    group_logs=target/$(basename "$0" .sh)
    for group_job in "$@"; do
        rm -f "$group_logs-$group_job.status"
    done
    for group_job in "$@"; do
        group_begun=$(date +%s)
        "$group_job" > "$group_logs-$group_job.log" 2>&1
        group_status=$?
        echo "by itself: $(($(date +%s) - group_begun)) s" >> "$group_logs-$group_job.log"
        # Whole or not there.
        echo "$group_status" > "$group_logs-$group_job.status.new"
        mv "$group_logs-$group_job.status.new" "$group_logs-$group_job.status"
    done &
    group_beside=$!
    trap 'kill "$group_beside"; exit 130' INT TERM
}

ends() {
    while [ ! -f "$group_logs-$1.status" ]; do
        kill -0 "$group_beside" 2> /dev/null || [ -f "$group_logs-$1.status" ] || return 1
        sleep 1
    done
    cat "$group_logs-$1.log"
    return "$(cat "$group_logs-$1.status")"
}

# Prints the number of groups that passed and failed; fails if any did. $1: what was checked.
summary() {
    [ -z "$failures" ] || echo "failed: ${failures#, }"
    echo "$1: $passed passed, $failed failed"
    [ $failed = 0 ]
}

# Installs a Debian package if its program is missing and that is possible.
need() {
    command -v "$1" > /dev/null || tools/apt-install.sh "$2"
    command -v "$1" > /dev/null
}

# Prints the values of WFVAE_CPU that this CPU has, from the slowest on, as the program reconstruct names them in an error. $@: what runs
# it. Fails if it names none.
cpu_levels() {
    group_levels=$(WFVAE_CPU=none "$@" -q target/demo/box-320x240.y4m 2>&1 > /dev/null |
        sed -n 's/.*WFVAE_CPU is "none".*this CPU has: //p' | tr -d ',\r')
    echo "$group_levels"
    [ -n "$group_levels" ]
}

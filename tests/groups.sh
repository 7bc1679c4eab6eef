# Groups of tests, for the scripts that run them. Sourced, not run. The tests may use all variables but those that begin with group_,
# passed, failed and failures.

passed=0 failed=0 failures=

group() {
    group_name=$1
    shift
    echo "== $group_name: $*"
    group_start=$(date +%s)
    if "$@"; then
        passed=$((passed + 1))
        echo "== $group_name: ok, $(($(date +%s) - group_start)) s"
    else
        failed=$((failed + 1))
        failures="$failures $group_name"
        echo "== $group_name: FAILED"
    fi
}

# As group, but exit code 3 means that the group cannot run here.
group_or_skip() {
    group_name=$1 group_reason=$2
    shift 2
    echo "== $group_name: $*"
    group_start=$(date +%s)
    "$@"
    case $? in
    0) passed=$((passed + 1)) && echo "== $group_name: ok, $(($(date +%s) - group_start)) s" ;;
    3) skip "$group_name" "$group_reason" ;;
    *) failed=$((failed + 1)) failures="$failures $group_name" && echo "== $group_name: FAILED" ;;
    esac
}

skip() {
    echo "== $1: skipped: $2"
}

# Prints the number of groups that passed and failed; fails if any did. $1: what was checked.
summary() {
    [ -z "$failures" ] || echo "failed:$failures"
    echo "$1: $passed passed, $failed failed"
    [ $failed = 0 ]
}

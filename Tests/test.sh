#!/usr/bin/env bash
# `make test`: one release build, then every group within its minutes; the last line sums the cases up.
set -u
cd "$(dirname "$0")/.." || exit 1
swift=${SWIFT:-swift}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
start=$SECONDS
passed=0
failed=0
summary=()

# group NAME MINUTES COMMAND...: runs the command, keeps its output, notes its time and whether it fits.
group() {
    local name=$1 limit=$2 begin=$SECONDS status
    shift 2
    echo "== $name"
    timeout $((limit * 60)) "$@" >"$logs/$name" 2>&1
    status=$?
    local taken=$((SECONDS - begin))
    summary+=("$(printf '%-10s %3d:%02d of %d min' "$name" $((taken / 60)) $((taken % 60)) "$limit")")
    if [ "$status" -eq 124 ]; then echo "$name took longer than $limit minutes"; fi
    return "$status"
}

group lint 2 "$swift" format lint --strict -r Package.swift Sources Tests || { tail -n 40 "$logs/lint"; failed=$((failed + 1)); }
if ! group build 15 "$swift" build -c release -Xswiftc -enable-testing --build-tests; then
    grep -E 'error:' "$logs/build" | sort -u | head -n 40
    tail -n 5 "$logs/build"
    echo "0 passed, 1 failed"
    exit 1
fi
group units 6 "$swift" test -c release -Xswiftc -enable-testing --skip-build --disable-xctest
status=$?
grep -E 'skipp' "$logs/units" | head -n 20
total=$(grep -oE 'Test run with [0-9]+ tests' "$logs/units" | tail -n 1 | grep -oE '[0-9]+')
broken=$(grep -E '^✘ Test .* failed after' "$logs/units" | grep -vc 'Test run with')
if [ "$status" -ne 0 ]; then
    grep -E '^✘' "$logs/units" | head -n 60
    [ "$broken" -gt 0 ] || broken=1
fi
echo "units: ${total:-0} tests, $broken failed"
passed=$((passed + ${total:-0} - broken))
failed=$((failed + broken))

group interop 12 python3 Tests/Interop/run.py --jobs 2
status=$?
cat "$logs/interop"
counts=$(grep -oE '^[0-9]+ passed, [0-9]+ failed' "$logs/interop" | tail -n 1)
passed=$((passed + $(echo "${counts:-0 passed, 1 failed}" | cut -d' ' -f1)))
failed=$((failed + $(echo "${counts:-0 passed, 1 failed}" | cut -d' ' -f3)))
[ "$status" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1

minutes=$(((SECONDS - start) / 60))
printf '%s\n' "${summary[@]}" "total      $minutes of 40 min"
if [ "$minutes" -ge 40 ]; then
    echo "make test took longer than 40 minutes"
    failed=$((failed + 1))
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

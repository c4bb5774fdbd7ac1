#!/usr/bin/env bash
# Walk through help, README, tutorials and guides as a new user would, in a fresh clone. The first
# wrong exit code ends the walk. The transcript, with the seconds of each command, is walk.txt.
#
#   scripts/walk.sh                    install from nothing and type everything: about half an hour
#   scripts/walk.sh --short BIN RUN    help, README and the job on one's own pictures, with the
#                                      programs in BIN, a finished run of digits, and few images
set -uo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
transcript=$PWD/walk.txt
clone=$(mktemp -d)/morex
trap 'rm -rf "$(dirname "$clone")"' EXIT
TIMEFORMAT='  %R s, %U s of CPU'
: > "$transcript"

say() { echo "$@" | tee -a "$transcript"; }

# expect CODES COMMAND: run a command; end the walk unless its exit code is one of CODES.
expect() {
    local codes=$1 code
    say "\$ $2"
    { time bash -c "$2" < /dev/null >> "$transcript" 2>&1; } 2> "$clone.time"
    code=$?
    say "$(cat "$clone.time"), exit code $code"
    if [[ " $codes " != *" $code "* ]]; then
        tail -n 30 "$transcript"
        say "walk: expected exit code $codes"
        exit 1
    fi
}

# page FILE: type what a page shows. An audit that flags something ends with 1.
page() {
    local line
    say "== $1"
    while IFS= read -r line; do
        case $line in
            "make demo" | "make test" | pip*) [[ $short ]] && say "- $line: not in a short walk" && continue ;;
            *runs/digits-1* | *"--suite adaptive"*) [[ $short ]] && say "- $line: not in a short walk" && continue ;;
        esac
        case $line in
            pip*) say "- $line: make demo has installed the same" ;;
            "morex audit"*) expect "0 1" "$line" ;;
            *) expect 0 "$line" ;;
        esac
    done < <(python scripts/page_blocks.py "$1" ${short:+--fewer})
}

short=
git clone -q "$repository" "$clone" || exit 1
if [[ ${1:-} == --short ]]; then
    short=yes
    PATH=$(cd "$2" && pwd):$PATH
    mkdir -p "$clone/runs" && cp -r "$3" "$clone/runs/digits"
else
    PATH=$clone/.venv/bin:$PATH
fi
cd "$clone" || exit 1
export PATH
say "morex at $(git rev-parse --short HEAD), on $(env -u OMP_NUM_THREADS nproc) cores of$(sed -n 's/^model name.*:\(.*\)/\1/p' /proc/cpuinfo | head -n 1)"

[[ $short ]] || expect 0 "make demo ${TORCH:+TORCH=\"$TORCH\"} ${PYTHON:+PYTHON=\"$PYTHON\"}"
say "== help"
for command in "" $(morex --help | sed -n 's/^│ \([a-z]*\)  .*/\1/p'); do
    expect 0 "morex $command -h"
done
for command in --version recipes models "plan digits" "table runs/digits"; do
    expect 0 "morex $command"
done
say "== mistakes"
for command in digits "run digist" "table runs/digts" "compare here.npz there.npz" "predict --model cifar10-small no.png"; do
    expect 2 "morex $command"
done

page README.md
page docs/tutorials/own-pictures.md
if [[ ! $short ]]; then
    for file in docs/tutorials/*.md docs/guides/*.md; do
        [[ $file == */own-pictures.md ]] || page "$file"
    done
    expect 0 "python examples/own_experts.py"
fi
say "walk: everything ended as it should"

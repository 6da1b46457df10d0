# Sourced by the examples' run.sh: the command, the folder to work in ($1, or one in build/examples), and `show`, which
# prints a call of the command and makes it.
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/env.sh"
example=$(dirname "${BASH_SOURCE[1]}")
example=$(basename "$(cd "$example" && pwd)")
plait=${PLAIT:-$ROOT/build/release/bin/plait}
work=${1:-$ROOT/build/examples/$example}
mkdir -p "$work"

show() { printf '\n$ plait'; printf ' %q' "$@"; printf '\n'; "$plait" "$@"; }

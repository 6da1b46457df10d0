#!/usr/bin/env bash
# Trains, exports and runs again: one process, no Python but for the images. README.md says what to expect.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
program=${TRAIN_AND_EXPORT:-$ROOT/build/release/bin/train_and_export}

say "writing the images (once)"
[[ -f $work/digits.bin ]] || "$PYTHON" "$ROOT/examples/train_and_export/make_digits.py" "$work/digits.bin"
say "training and exporting"
"$program" "$work/digits.bin" "$work/digits.mlpackage"

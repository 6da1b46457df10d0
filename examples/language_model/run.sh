#!/usr/bin/env bash
# A language model as prefill and decode, base and two adapters: six functions, one base in the file, one state.
# README.md says what to expect.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
here=$ROOT/examples/language_model

say "training and tracing (once)"
[[ -f $work/expected.json ]] || "$PYTHON" "$here/make_models.py" "$work" "${STEPS:-400}" 2>/dev/null
cd "$work"
rm -rf language.mlpackage ./*_out

show compile -o language.mlpackage --states auto --output next --output next_position \
  --base prefill=prefill.pt --input 'tokens=int32[1, 8]' --input 'position=int32[1]' \
  --base decode=decode.pt --input 'tokens=int32[1, 1]' --input 'position=int32[1]' \
  --base-function plain --adapter verse=verse --adapter jack=jack
show inspect language.mlpackage
for name in plain verse jack; do
  printf '\n$ plait run language.mlpackage --steps %s.json\n' $name
  "$plait" run language.mlpackage --steps $name.json --output-dir ${name}_out > /dev/null
  "$PYTHON" "$here/compare.py" "$work" $name
done

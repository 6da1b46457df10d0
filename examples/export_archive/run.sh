#!/usr/bin/env bash
# An archive of torch.export with two programs of one model, compiled with an adapter. README.md says what to expect.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

say "exporting the model (once)"
[[ -f $work/language_model.pt2 ]] || "$PYTHON" "$ROOT/examples/export_archive/make_models.py" "$work"
cd "$work"
rm -rf plain.mlpackage adapted.mlpackage

show compile -o plain.mlpackage language_model.pt2
show inspect plain.mlpackage
show compile -o adapted.mlpackage \
  --base prefill=language_model.pt2:prefill --base decode=language_model.pt2:decode \
  --base-function plain --adapter adapted=adapter
show verify adapted.mlpackage \
  --function plain_prefill --against language_model.pt2:prefill \
  --function adapted_prefill --against language_model.pt2:prefill --adapter adapter \
  --function adapted_decode --against language_model.pt2:decode --adapter adapter

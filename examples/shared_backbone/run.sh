#!/usr/bin/env bash
# One feature extractor with two heads, compiled into one package. README.md says what to expect.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

say "making the models (once)"
[[ -f $work/regressor.pt ]] || "$PYTHON" "$ROOT/examples/shared_backbone/make_models.py" "$work"
cd "$work"
rm -rf heads.mlpackage

cp "$ROOT/examples/shared_backbone/recipe.yaml" .
show compile recipe.yaml
show inspect heads.mlpackage
show verify heads.mlpackage --function classifier --against classifier.pt --function regressor --against regressor.pt

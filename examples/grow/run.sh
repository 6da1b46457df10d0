#!/usr/bin/env bash
# A package that is in use gets another adapter, and loses one. README.md says what to expect.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

weights() { wc -c < adapters.mlpackage/Data/com.apple.CoreML/weights/weight.bin | tr -d ' '; }

say "making the models (once)"
[[ -f $work/adapted_model_3.pt ]] ||
  "$PYTHON" "$ROOT/examples/lora_adapters/make_models.py" "$work" --size 2000 --rank 16 --adapters 3
cd "$work"
rm -rf adapters.mlpackage other.mlpackage merged.mlpackage

show compile -o adapters.mlpackage --function adapter_1=adapted_model_1.pt --input 'x=[1, 2000]' --output y
before=$(weights)
show add adapters.mlpackage --expect-shared 95% --function adapter_2=adapted_model_2.pt --input 'x=[1, 2000]' --output y
printf 'the weights grew from %s to %s bytes\n' "$before" "$(weights)"
show verify adapters.mlpackage --function adapter_1 --against adapted_model_1.pt --function adapter_2 --against adapted_model_2.pt

show remove adapters.mlpackage adapter_1 --default adapter_2
show remove adapters.mlpackage --compact

show compile -o other.mlpackage --input 'x=[1, 2000]' --output y adapted_model_3.pt
show merge -o merged.mlpackage adapters.mlpackage adapter_3=other.mlpackage
show inspect merged.mlpackage

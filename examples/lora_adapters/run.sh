#!/usr/bin/env bash
# Two LoRA adaptations of one base model, compiled into one package. README.md says what to expect.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

say "making the models (once)"
[[ -f $work/adapted_model_2.pt ]] || "$PYTHON" "$ROOT/examples/lora_adapters/make_models.py" "$work"
cd "$work"
rm -rf combined_adapter_models.mlpackage

show compile -o combined_adapter_models.mlpackage --default adapter_1 \
  --function adapter_1=adapted_model_1.pt --input 'input_adapted_model_1=[1, 6000]' --output out_adapted_model_1 \
  --function adapter_2=adapted_model_2.pt --input 'input_adapted_model_2=[1, 6000]' --output out_adapted_model_2
show inspect combined_adapter_models.mlpackage
show verify combined_adapter_models.mlpackage \
  --function adapter_1 --against adapted_model_1.pt --function adapter_2 --against adapted_model_2.pt

printf '\n%s' "on disk: the two models "
cat adapted_model_1.pt adapted_model_2.pt | wc -c | tr -d '\n '
printf ' bytes, the package '
find combined_adapter_models.mlpackage -type f -exec cat {} + | wc -c | tr -d '\n '
printf ' bytes\n'

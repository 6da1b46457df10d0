#!/usr/bin/env bash
# Three PEFT adapter folders of one base, compiled without tracing any of them. README.md says what to expect.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

say "making base and adapters (once)"
[[ -d $work/poetry ]] || "$PYTHON" "$ROOT/examples/peft_folders/make_adapters.py" "$work" 2>/dev/null
cd "$work"
rm -rf assistant.mlpackage

show compile -o assistant.mlpackage --base base.pt --input 'tokens=int32[1, 32]' --output logits \
  --base-function plain --adapter chat=chat --adapter code=code --adapter poetry=poetry \
  --adapter mixed=chat:0.7+code:0.3
show inspect assistant.mlpackage
for adapter in chat code poetry; do
  show verify assistant.mlpackage --function $adapter --against base.pt --adapter $adapter
done

printf '\nadapter files: '
cat chat/adapter_model.safetensors code/adapter_model.safetensors poetry/adapter_model.safetensors | wc -c

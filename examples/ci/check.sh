#!/usr/bin/env bash
# Compiles a recipe and checks the package: README.md says what is checked.
#
#   check.sh RECIPE.yaml MODELS.txt [LAST.json]
#
# MODELS.txt has a line for each function, its name and its model. PLAIT is the command (plait), WORK the folder that the package and
# the reports go to (build). What is printed is Markdown.
set -euo pipefail
recipe=${1:?a recipe is wanted} models=${2:?a list of functions and models is wanted} last=${3:-}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
plait=${PLAIT:-plait} work=${WORK:-build}
mkdir -p "$work"
package=$work/model.mlpackage

# report NAME COMMAND...: shows what it prints, which stays in WORK/NAME.txt; a failure ends the script once it is shown.
report() {
  local name=$1 status=0
  shift
  "$@" > "$work/$name.txt" 2>&1 || status=$?
  printf '### %s\n\n```\n%s\n```\n\n' "$name" "$(< "$work/$name.txt")"
  return "$status"
}

report compile "$plait" compile -o "$package" --expect-shared 90% "$recipe"

against=()
while read -r function model || [[ -n $function ]]; do # the last line may have no end
  [[ -z $function ]] || against+=(--function "$function" --against "$(dirname "$models")/$model")
done < "$models"
report verify "$plait" verify "$package" "${against[@]}"

report doctor "$plait" doctor "$package"

"$plait" inspect "$package" --json > "$work/inspect.json"
if [[ -n $last ]]; then
  report sizes python3 "$here/compare_sizes.py" "$last" "$work/inspect.json"
fi

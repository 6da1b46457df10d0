# Sourced by the other scripts: where things are, and how to configure and build a preset.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$ROOT/build/venv
PYTHON=$VENV/bin/python
JOBS=${PLAIT_JOBS:-$(getconf _NPROCESSORS_ONLN)}

# ccache sees through the precompiled header and through the place of the checkout.
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$ROOT}
export CCACHE_NOHASHDIR=1
export CCACHE_PCH_EXTSUM=1 # cmake/PlaitTargets.cmake writes it
export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime

say() { printf '== %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# logged NAME COMMAND...: runs it with its output in build/logs/NAME.log; shows the log's end if it fails.
logged() {
  local name=$1 log=$ROOT/build/logs/$1.log status=0; shift
  mkdir -p "$ROOT/build/logs"
  "$@" < /dev/null > "$log" 2>&1 || status=$?
  ((status)) || return 0
  tail -n "${PLAIT_LOG_LINES:-80}" "$log"
  printf 'error: %s failed; the whole log is build/logs/%s.log\n' "$name" "$name" >&2
  return "$status"
}

# The prefixes of the third parties that CMake would not find by itself.
prefix_path() {
  local prefixes=("$VENV"/lib/python3*/site-packages/torch/share/cmake)
  if [[ $(uname) == Darwin ]]; then
    prefixes+=("$(brew --prefix llvm@19)" "$(brew --prefix)")
  fi
  (IFS=';'; printf '%s' "${prefixes[*]}")
}

# build_preset NAME [TARGET...]: configures build/NAME when its options changed, then builds it. ccache is looked for here and
# not when this file is read: the set-up may have installed it in between.
build_preset() {
  local preset=$1; shift
  if [[ -z ${PLAIT_COMPILER_LAUNCHER+set} ]] && command -v ccache > /dev/null; then
    export PLAIT_COMPILER_LAUNCHER=ccache
  fi
  local dir=$ROOT/build/$preset options compiler=()
  # The sanitizer build is Clang's where it is installed: it is faster than GCC's there, and ./test is to read all files with
  # Clang anyway.
  if [[ $preset == asan ]] && command -v clang++-19 > /dev/null; then
    compiler=(-DCMAKE_C_COMPILER=clang-19 -DCMAKE_CXX_COMPILER=clang++-19)
  fi
  options="${PLAIT_COMPILER_LAUNCHER-} $(prefix_path) ${compiler[*]-}"
  if [[ ! -f $dir/build.ninja || $(cat "$dir/.options" 2> /dev/null) != "$options" ]]; then
    (cd "$ROOT" && logged "configure-$preset" \
      cmake --fresh --preset "$preset" "-DCMAKE_PREFIX_PATH=$(prefix_path)" ${compiler[@]+"${compiler[@]}"}) || return
    printf '%s\n' "$options" > "$dir/.options"
  fi
  logged "build-$preset" ninja -C "$dir" -j "$JOBS" "$@"
}

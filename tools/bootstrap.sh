#!/usr/bin/env bash
# Installs what a make target needs, and nothing twice: tools/bootstrap.sh build|serve|triton|wheel|test|san|lint|cuda|torch|peers
#   build  compiler and libraries (apt), the assets of the pages in build/assets/ (pip)
#   serve  build + the default model in build/models/ (pip)
#   triton serve + a tritonserver and clients (tools/serving_requirements.txt) in build/venv-serving (pip)
#   wheel  build + Python's headers (apt) + tools/wheel_requirements.txt in build/venv-wheel (pip), and what the wheel
#          depends on as files in build/wheelhouse
#   test   triton + wheel + test libraries (apt) + the oracles of tools/requirements.txt in build/venv (pip);
#          KServe's client (tools/kserve_requirements.txt) in build/venv-kserve (pip); Gradio in build/venv-gradio (pip)
#   san    test + the sanitizers and what makes their reports readable (apt)
#   lint   the formatter (apt) and python3
#   cuda   NVIDIA's compiler, where there is none (pip, in build/venv-cuda)
#   torch  build + PyTorch without CUDA, 600 MB, bitsandbytes and transformers in build/venv-torch (pip), for
#          `make test TORCH=1`
#   peers  serve + gguf and NumPy, of the oracles, for `make peers`, which installs other engines itself
# For Debian 12, as root or with sudo. Elsewhere it names what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

role=${1:-}
case $role in
  build | serve | triton | wheel | test | san | lint | cuda | torch | peers) ;;
  *) sed -n '2,16s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

BUILD_PACKAGES="clang-19 lld-19 cmake ninja-build ccache pkg-config libboost1.81-dev libboost-json1.81-dev
  libboost-system1.81-dev libcli11-dev libedit-dev libexpected-dev libfmt-dev libpcre2-dev libssl-dev libutf8proc-dev
  libxxhash-dev libyaml-cpp-dev prometheus-cpp-dev libsqlite3-dev
  libgrpc++-dev libprotobuf-dev protobuf-compiler"
PYTHON_PACKAGES="python3 python3-venv ca-certificates curl"
WHEEL_PACKAGES="python3-dev"
TEST_PACKAGES="clang-format-19 libgtest-dev libgmock-dev openssl protobuf-compiler-grpc chromium chromium-driver faketime
  fonts-noto-cjk"
SAN_PACKAGES="libclang-rt-19-dev llvm-19"
LINT_PACKAGES="clang-format-19 python3"

# nvcc and what it needs: its own tools and headers, and those of the C++ library.
CUDA_PACKAGES="nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96
  nvidia-cuda-cccl==13.0.85"

VENV=build/venv
SERVING_VENV=build/venv-serving
KSERVE_VENV=build/venv-kserve
WHEEL_VENV=build/venv-wheel
WHEELHOUSE=build/wheelhouse
GRADIO_VENV=build/venv-gradio
TORCH_VENV=build/venv-torch
# bitsandbytes, too, depends on torch: without what they depend on.
TORCH="torch==2.15.0 accelerate==1.15.0 bitsandbytes==0.50.2"
MODELS=build/models
ASSETS=build/assets
DEFAULT_MODEL=smollm2

say() { echo "bootstrap: $*" >&2; }

# A stamp of this very content says that nothing is to be done.
digest=$(cat tools/bootstrap.sh tools/requirements.txt tools/serving_requirements.txt tools/kserve_requirements.txt tools/wheel_requirements.txt tools/gradio_requirements.txt tools/torch_requirements.txt tools/torch_without_cuda.py tools/models.json tools/assets.json tools/fetch_model.py | sha256sum | cut -c1-16)
stamp=build/.bootstrap-$role
if [[ -f $stamp && $(<"$stamp") == "$digest" ]] &&
  { [[ $role != serve && $role != triton && $role != test && $role != san && $role != peers ]] || [[ -d $MODELS/$DEFAULT_MODEL ]]; } &&
  { [[ $role != torch ]] || [[ -f $(echo $TORCH_VENV/lib/python3*/site-packages/torch/__init__.py) ]]; } &&
  { [[ $role == lint || $role == cuda || $role == torch ]] || [[ -x $VENV/bin/python && -f $ASSETS/swagger-ui/swagger-ui.css ]]; } &&
  { [[ $role != wheel && $role != test ]] || [[ -x $WHEEL_VENV/bin/auditwheel && -d $WHEELHOUSE ]]; } &&
  { [[ $role == lint || $role == cuda ]] || command -v clang++-19 >/dev/null; }; then
  exit 0
fi

as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    say "not root, and there is no sudo. Run as root: $*"
    exit 1
  fi
}

retry() {
  local attempt
  for attempt in 1 2 3 4; do
    "$@" && return 0
    say "failed (attempt $attempt of 4): $*"
    sleep $((attempt * 3))
  done
  return 1
}

quietly() {
  "$@" >build/apt.log 2>&1 || { tail -n 5 build/apt.log >&2; return 1; }
}

install_packages() {
  local missing=() package
  if ! command -v apt-get >/dev/null; then
    say "no apt-get here; make sure that you have what these Debian 12 packages hold:" "$@"
    return 0
  fi
  for package in "$@"; do
    [[ $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) == "install ok installed" ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  say "installing with apt (details in build/apt.log): ${missing[*]}"
  retry quietly as_root apt-get -qq update
  retry quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
    -o Dpkg::Use-Pty=0 "${missing[@]}"
}

# Debian's own interpreter where it is: another python3 on the PATH may lack venv or be too old or new for the wheels.
make_venv() {
  local venv=${1:-$VENV} python=/usr/bin/python3
  [[ -x $venv/bin/python ]] && return 0
  [[ -x $python ]] || python=python3
  say "creating a private Python environment in $venv"
  "$python" -m venv "$venv"
}

install_nvcc() {
  command -v nvcc >/dev/null && return 0
  [[ -x ${CUDA_HOME:-/usr/local/cuda}/bin/nvcc ]] && return 0
  make_venv build/venv-cuda
  say "installing with pip into build/venv-cuda: $CUDA_PACKAGES"
  # shellcheck disable=SC2086
  retry build/venv-cuda/bin/python -m pip install --quiet --disable-pip-version-check $CUDA_PACKAGES >&2
}

install_oracles() {
  say "installing with pip into $VENV: $(grep -v '^#' tools/requirements.txt | tr '\n' ' ')"
  retry "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r tools/requirements.txt >&2
}

# Apart from the oracles: its packages want other versions of theirs. Without it the tests of gRPC and Triton are skipped.
install_serving() {
  [[ -x $SERVING_VENV/bin/python ]] || /usr/bin/python3 -m venv "$SERVING_VENV"
  say "installing with pip into $SERVING_VENV: $(grep -v '^#' tools/serving_requirements.txt | tr '\n' ' ')"
  retry "$SERVING_VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r tools/serving_requirements.txt >&2
}

# KServe's client brings a server's packages. Without it its test is skipped.
install_kserve() {
  say "installing with pip into $KSERVE_VENV: $(grep -v '^#' tools/kserve_requirements.txt | tr '\n' ' ')"
  [[ -x $KSERVE_VENV/bin/python ]] || /usr/bin/python3 -m venv "$KSERVE_VENV"
  retry "$KSERVE_VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r tools/kserve_requirements.txt >&2
}

install_wheel_tools() {
  say "installing with pip into $WHEEL_VENV: $(grep -v '^#' tools/wheel_requirements.txt | tr '\n' ' ')"
  [[ -x $WHEEL_VENV/bin/python ]] || /usr/bin/python3 -m venv "$WHEEL_VENV"
  retry "$WHEEL_VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r tools/wheel_requirements.txt >&2
  retry "$WHEEL_VENV/bin/python" -m pip download --quiet --disable-pip-version-check --dest "$WHEELHOUSE" \
    "nanobind-backend>=1,<2" numpy tqdm >&2
}

# In an environment of its own: it has many packages. Without it the test of the demo is skipped.
install_gradio() {
  say "installing with pip into $GRADIO_VENV: $(grep -v '^#' tools/gradio_requirements.txt | tr '\n' ' ')"
  [[ -x $GRADIO_VENV/bin/python ]] || /usr/bin/python3 -m venv "$GRADIO_VENV"
  retry "$GRADIO_VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r tools/gradio_requirements.txt >&2
}

# PyPI's torch without what it depends on, which is gigabytes of CUDA.
install_torch() {
  say "installing with pip into $TORCH_VENV: $TORCH $(grep -v '^#' tools/torch_requirements.txt | tr '\n' ' ')"
  make_venv "$TORCH_VENV"
  # shellcheck disable=SC2086
  retry "$TORCH_VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-cache-dir $TORCH >&2
  retry "$TORCH_VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r tools/torch_requirements.txt >&2
  python3 tools/torch_without_cuda.py "$(echo "$TORCH_VENV"/lib/python3*/site-packages/torch)"
}

# Not installed, which would start a server: unpacked, for tests/proxy_test.py.
unpack_nginx() {
  [[ ! -x build/nginx/usr/sbin/nginx ]] && command -v apt-get >/dev/null || return 0
  say "unpacking Debian's nginx into build/nginx"
  (cd build && retry apt-get -qq download nginx >apt.log 2>&1 && dpkg -x nginx_*.deb nginx && rm -f nginx_*.deb) ||
    say "that failed (build/apt.log): tests/proxy_test.py will skip what needs it"
}

fetch_model() {
  [[ -d $MODELS/$DEFAULT_MODEL ]] || say "downloading the model $DEFAULT_MODEL (90 MB) into $MODELS"
  "$VENV/bin/python" tools/fetch_model.py "$DEFAULT_MODEL" "$MODELS" >/dev/null
}

fetch_assets() {
  local name
  for name in swagger-ui-bundle.js swagger-ui.css; do
    [[ -f $ASSETS/swagger-ui/$name ]] || say "downloading $name into $ASSETS"
    "$VENV/bin/python" tools/fetch_model.py "$name" "$ASSETS" assets.json >/dev/null
  done
}

mkdir -p build
# Package names are words, split on purpose.
# shellcheck disable=SC2086
case $role in
  build) install_packages $BUILD_PACKAGES $PYTHON_PACKAGES ;;
  serve | triton | peers) install_packages $BUILD_PACKAGES $PYTHON_PACKAGES ;;
  wheel) install_packages $BUILD_PACKAGES $PYTHON_PACKAGES $WHEEL_PACKAGES ;;
  test) install_packages $BUILD_PACKAGES $PYTHON_PACKAGES $WHEEL_PACKAGES $TEST_PACKAGES ;;
  san) install_packages $BUILD_PACKAGES $PYTHON_PACKAGES $TEST_PACKAGES $SAN_PACKAGES ;;
  lint) install_packages $LINT_PACKAGES ;;
  cuda) install_packages clang-19 $PYTHON_PACKAGES ;;
  torch) install_packages clang-19 binutils $PYTHON_PACKAGES ;;
esac
if [[ $role == cuda ]]; then install_nvcc; fi
if [[ $role == torch ]]; then install_torch; fi
if [[ $role != lint && $role != cuda && $role != torch ]]; then
  make_venv
  fetch_assets
fi
if [[ $role == serve || $role == triton || $role == test || $role == san || $role == peers ]]; then fetch_model; fi
if [[ $role == triton || $role == test || $role == san ]]; then install_serving; fi
if [[ $role == test || $role == san || $role == peers ]]; then install_oracles; fi
if [[ $role == test || $role == san ]]; then unpack_nginx; fi
if [[ $role == wheel || $role == test ]]; then install_wheel_tools; fi
if [[ $role == test ]]; then
  install_gradio
  install_kserve
fi

echo "$digest" >"$stamp"
[[ $role == torch ]] && target="test TORCH=1" || target=$role
say "ready for \"make $target\""

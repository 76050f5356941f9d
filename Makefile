# Each target installs what it needs (tools/bootstrap.sh), builds, and runs. A second run does nothing twice.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
JOBS ?= $(shell nproc)
PORT ?= 23333
MODEL ?= smollm2
FUZZ_SECONDS ?= 20
TSAN_TESTS ?= base_test engine_test kv_test llm_test server_test
CXX_FILES = $(shell find src apps tests bench python -name '*.h' -o -name '*.cc' -o -name '*.cu' -o -name '*.cuh' 2>/dev/null)
INGOT := build/release/bin/ingot

.PHONY: help build serve triton wheel test bench peers fmt lint san nightly fuzz cuda

help: ## What there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 18

build: ## The program, build/release/bin/ingot, and Triton's backend (CUDA=1: with NVIDIA's compiler, installed if need be)
	@tools/bootstrap.sh build
	@test -z "$(CUDA)" || tools/bootstrap.sh cuda
	@test -f build/release/build.ninja -a -z "$(CUDA)" || cmake --preset release -DINGOT_CUDA=ON $(if $(wildcard build/release/build.ninja),,-DINGOT_TESTS=OFF)
	@ninja -C build/release -j $(JOBS) ingot triton_ingot

serve: ## Serve MODEL (default: SmolLM2-135M-Instruct) on http://127.0.0.1:PORT
	@tools/bootstrap.sh serve
	@test -f build/release/build.ninja || cmake --preset release -DINGOT_TESTS=OFF
	@ninja -C build/release -j $(JOBS) ingot
	@exec $(INGOT) serve api_server $(MODEL) --server-port $(PORT) $(if $(MODEL_NAME),--model-name $(MODEL_NAME))

triton: ## Serve MODEL by Triton Inference Server with Ingot's backend: HTTP at 8000, gRPC at 8001, metrics at 8002
	@tools/bootstrap.sh triton
	@test -f build/release/build.ninja || cmake --preset release -DINGOT_TESTS=OFF
	@ninja -C build/release -j $(JOBS) ingot triton_ingot
	@VIRTUAL_ENV=$(CURDIR)/build/venv-serving exec $(INGOT) serve triton $(MODEL) --model-repository build/triton $(if $(MODEL_NAME),--model-name $(MODEL_NAME))

wheel: ## The Python package: build/wheel/*.whl
	@tools/bootstrap.sh wheel
	@cmake --preset release -DINGOT_WHEEL=ON >build/cmake.log || { cat build/cmake.log; exit 1; }
	@ninja -C build/release -j $(JOBS) ingot ingot_python ingot_python_program
	@tools/make_wheel.sh

test: ## All checks and tests (TORCH=1: those of the PyTorch engine, too, for which torch is installed)
	@tools/bootstrap.sh test
	@test -z "$(TORCH)" || tools/bootstrap.sh torch
	@$(MAKE) --no-print-directory lint
	@cmake --preset release -DINGOT_TESTS=ON -DINGOT_WHEEL=ON >build/cmake.log || { cat build/cmake.log; exit 1; }
	@ninja -C build/release -j $(JOBS)
	@tools/make_wheel.sh
	@ctest --preset release -j $(JOBS)

bench: ## The kernels, compared with what the machine does at most
	@tools/bootstrap.sh build
	@test -f build/release/build.ninja || cmake --preset release -DINGOT_TESTS=OFF
	@ninja -C build/release -j $(JOBS) ingot
	@$(INGOT) bench kernels

peers: ## Ingot compared with llama.cpp and OpenVINO GenAI: installs them, and prints a table (QUICK=1: in minutes)
	@tools/bootstrap.sh peers
	@test -f build/release/build.ninja || cmake --preset release -DINGOT_TESTS=OFF
	@ninja -C build/release -j $(JOBS) ingot
	@bench/peers/run.py $(if $(QUICK),--quick)

fmt: ## Format the C++ sources in place
	@tools/bootstrap.sh lint
	@clang-format-19 -i $(CXX_FILES)

lint: ## Format, includes between folders, lengths of functions and files
	@tools/bootstrap.sh lint
	@clang-format-19 --dry-run -Werror $(CXX_FILES)
	@python3 tools/check_deps.py
	@python3 tools/check_sizes.py

san: ## All tests under ASan and UBSan; those with threads under TSan
	@tools/bootstrap.sh san
	@cmake --preset asan >build/cmake.log || { cat build/cmake.log; exit 1; }
	@ninja -C build/asan -j $(JOBS)
	@ctest --preset asan -j $(JOBS)
	@cmake --preset tsan >build/cmake.log || { cat build/cmake.log; exit 1; }
	@ninja -C build/tsan -j $(JOBS) $(TSAN_TESTS)
	@ctest --preset tsan -j $(JOBS) -R "^($$(echo $(TSAN_TESTS) | tr ' ' '|'))$$"

cuda: ## The CUDA kernels for each architecture: their registers, spills and occupancy are those of the table
	@tools/bootstrap.sh build
	@tools/bootstrap.sh cuda
	@cmake --preset release -B build/cuda -DINGOT_TESTS=ON -DINGOT_CUDA=ON "-DINGOT_CUDA_ARCHS=80;86;89;90a" \
	  "-DINGOT_ONLY=text;base;tensor;kernels" >build/cmake.log || { cat build/cmake.log; exit 1; }
	@ninja -C build/cuda -j $(JOBS) cuda_resources_test
	@build/cuda/bin/cuda_resources_test

nightly: ## The tests at full scale (INGOT_NIGHTLY=1), the CUDA kernels, then each fuzzer for five minutes
	@tools/bootstrap.sh test
	@cmake --preset release -DINGOT_TESTS=ON -DINGOT_WHEEL=ON >build/cmake.log || { cat build/cmake.log; exit 1; }
	@ninja -C build/release -j $(JOBS)
	@tools/make_wheel.sh
	@INGOT_NIGHTLY=1 ctest --preset release -C Nightly --timeout 7200
	@tools/mutate_cuda.py
	@$(MAKE) --no-print-directory cuda
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=300

fuzz: ## Each libFuzzer target for FUZZ_SECONDS
	@tools/bootstrap.sh san
	@cmake --preset fuzz >build/cmake.log || { cat build/cmake.log; exit 1; }
	@ninja -C build/fuzz -j $(JOBS) fuzzers
	@tools/run_fuzzers.sh build/fuzz $(FUZZ_SECONDS)

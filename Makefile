# make demo             the whole way with the built-in checkpoint: export, verify, quantize, report, talk
# make test             all that is checked: lint, types, import rules, web-test, page-test, tests, the runtime alone; on
#                       Linux x86-64 also openvino-mobile and qnn
# make test-all         the slow tests too
# make docs             what the docs hold that is made of the code
# make bench            the speed of this machine
# make lm-eval          the tests of lm-evaluation-harness, in an environment of its own; 600 MB at first
# make triton           training's kernels for CUDA in Triton's interpreter, in an environment with triton; 290 MB at first
# make openvino         the demo on OpenVINO: placement, parity, tests; Intel's processors only
# make openvino-mobile  the graphs for phones on OpenVINO: where every node went, and the logits; Intel's processors only
# make qnn              the same on Qualcomm's simulator, in uint16 and uint8, and a context binary
# make arm64            the recorded logits on an emulated Arm64, in float32 and int8 (Debian or Ubuntu)
# make optimum          optimum-cli export onnx, with optimum and the transformers that it takes in an environment of their own
# make native-sanitized the kernels' tests and many hostile nodes under sanitizers, the newest instructions emulated
# make native-threads   the threads that share a run, under the sanitizer of threads
# make arm64-native     the kernels on an emulated Arm64, every table against the bits of this machine's
# make test-wheels      the two wheels for Linux: made, looked at, and run without a compiler
# make wheels           wheels of the kernels in dist/, for other machines too, by Zig's compiler; some minutes each at first
# make web              the chat page, into rrwkv_export/assets/web, for `rrwkv web` and wheels
# make page-test        the page in a browser: what people do, bad days, accessibility; in Debian's Chromium
# make page-pictures    the pictures in docs/web.md, of a conversation with the demo
# make page-bench       how fast the page starts and talks in Chromium, with the demo or the bundles of $BUNDLES
# make web-kernels      the kernels as modules of WebAssembly, for runtimes/web, and their check; some minutes at first
# make web-test         the runtime for browsers: lint, types, and its tests in Node, some against Python
# make clean
# Each sets up what it needs in $(VENV), plugins in build/plugin-*. What a machine cannot have is skipped in a line.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PACKAGES := rrwkv_export plugins runtimes/python/rrwkv_runtime runtimes/native runtimes/server tests benchmarks examples docs cli.py
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Who develops has a compiler: kernels that do not compile are an error.
export RRWKV_NATIVE_REQUIRED := 1
# Where node.sh puts a Node.js of PyPI.
export PATH := $(CURDIR)/build/node/path:$(PATH)

.PHONY: optimum triton demo test test-all check pytest runtime-alone docs openvino openvino-demo openvino-mobile qnn arm64 bench native-sanitized native-threads wheels test-wheels arm64-native web web-kernels lm-eval web-test page-test page-test-in page-pictures page-bench clean

demo: $(VENV)/.installed
	@$(BIN)/rrwkv demo --output build/demo

# Engines of phones that run on this kind of machine.
ENGINES := $(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),openvino-mobile qnn)

# In this order: pytest runs what web-test and page-test have built, too.
test: check web-test page-test pytest runtime-alone $(ENGINES)

test-all: check web-test page-test runtime-alone $(ENGINES)
	$(BIN)/pytest -n 2 -m "" --hypothesis-profile thorough

check: $(VENV)/.installed-dev
	$(BIN)/ruff check $(PACKAGES)
	$(BIN)/ruff format --check $(PACKAGES)
	$(BIN)/clang-format --dry-run -Werror $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

pytest: $(VENV)/.installed-dev build/openai/.installed
	$(BIN)/pytest -n 2 --durations 15

# OpenAI's client in JavaScript, which a test of the server runs.
build/openai/.installed:
	@mkdir -p $(@D)
	@if $(NODE) npm install --silent --no-save --prefix $(@D) openai@6.49.0; then touch $@; else \
		echo "npm cannot install openai: the test of its client is skipped"; fi

# The runtime in an environment that holds nothing else, running a bundle.
runtime-alone: $(VENV)/.installed-dev
	@$(BIN)/rrwkv demo --scripted --force --output build/demo > /dev/null
	@$(PYTHON) -m venv --clear build/alone
	@build/alone/bin/pip install --quiet --constraint constraints.txt './runtimes/python[cpu]'
	cd build && alone/bin/python ../tests/runtime_alone.py demo

docs: $(VENV)/.installed-dev
	@$(BIN)/python docs/make.py

# A float32 and an int8 bundle on OpenVINO's CPU device: where every node goes, parity, and the plugin's tests.
CHECKPOINT := rrwkv_export/assets/rrwkv-chat
openvino: build/plugin-openvino/.installed
	@if build/plugin-openvino/bin/python -m benchmarks.engines.plugins openvino; then $(MAKE) --no-print-directory openvino-demo; fi

openvino-demo:
	build/plugin-openvino/bin/python cli.py export $(CHECKPOINT) -o build/float --force --tokens 48 > /dev/null
	build/plugin-openvino/bin/python cli.py quantize build/float -o build/int8-static --scheme int8-static --samples 16 --force
	build/plugin-openvino/bin/python cli.py verify build/float --against $(CHECKPOINT) --provider openvino --strict
	build/plugin-openvino/bin/python cli.py verify build/int8-static --provider openvino --strict --tokens 200
	build/plugin-openvino/bin/python -m pytest tests/runtime/test_providers.py

# A plugin in an environment of its own that also sees everything in $(VENV).
build/plugin-%/.installed: $(VENV)/.installed-dev
	@$(PYTHON) -m venv --clear $(@D)
	@$(BIN)/python -c "import site; print(f'import site; site.addsitedir({site.getsitepackages()[0]!r})')" \
		> $$($(@D)/bin/python -c "import site; print(site.getsitepackages()[0])")/over.pth
	@$(@D)/bin/pip install --quiet --constraint constraints.txt './runtimes/python[$*]'
	@touch $@

# Environments over $(VENV), and in front of it. optimum takes no transformers from 4.58 on, which is what constraints.txt has.
OVER_optimum := optimum-onnx==0.1.0
OVER_triton := --constraint constraints.txt triton
OVER_lm-eval := --constraint constraints.txt lm_eval
build/over-%/.installed: $(VENV)/.installed-dev
	@$(PYTHON) -m venv --clear $(@D)
	@$(BIN)/python -c "import site; print(f'import site; site.addsitedir({site.getsitepackages()[0]!r})')" \
		> $$($(@D)/bin/python -c "import site; print(site.getsitepackages()[0])")/over.pth
	@$(@D)/bin/pip install --quiet $(OVER_$*)
	@touch $@

optimum: build/over-optimum/.installed
	$(<D)/bin/python -m pytest tests/huggingface

triton: build/over-triton/.installed
	$(<D)/bin/python -m pytest tests/train/test_triton_kernels.py

lm-eval: build/over-lm-eval/.installed
	$(<D)/bin/python -m pytest tests/evaluate

bench: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks.speed.kernels

# The graphs in fixed shapes on engines that come as plugins, every node on the engine, and the logits. qnn is Qualcomm's
# simulator; see benchmarks/engines/plugins.py.
MOBILE := build/mobile

# A random RWKV-7, and a trained one where $RWKV7_CHAT says in which folder it is.
RWKV7 := $(MOBILE)-rwkv7 $(if $(RWKV7_CHAT),$(MOBILE)-rwkv7-chat)

RWKV7_QNN := $(if $(RWKV7_CHAT),$(MOBILE)-rwkv7-chat/qnn/manifest.json)

openvino-mobile: build/plugin-openvino/.installed $(MOBILE)/float/manifest.json $(RWKV7:%=%/float/manifest.json)
	@set -e; for folder in $(MOBILE) $(RWKV7); do \
		build/plugin-openvino/bin/python -m benchmarks.engines.plugins openvino $$folder float; done

qnn: build/plugin-qnn/.installed $(MOBILE)/qnn/manifest.json $(RWKV7:%=%/float/manifest.json) $(RWKV7_QNN)
	@build/plugin-qnn/bin/python -m benchmarks.engines.plugins qnn $(MOBILE)
	$(if $(RWKV7_QNN),@build/plugin-qnn/bin/python -m benchmarks.engines.plugins qnn $(MOBILE)-rwkv7-chat)
	@set -e; for folder in $(RWKV7); do build/plugin-qnn/bin/python -m benchmarks.engines.plugins qnn $$folder float; done

# The recorded logits on an Arm64 processor, emulated; see benchmarks/engines/arm64.sh.
arm64: $(MOBILE)/arm64/manifest.json $(RWKV7:%=%/float/manifest.json)
	@benchmarks/engines/arm64.sh build/arm64 -m benchmarks.engines.arm64 $(MOBILE) $(RWKV7)

$(MOBILE)/%/manifest.json: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks.engines.mobile $(MOBILE) $*

$(MOBILE)-%/float/manifest.json: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks.engines.mobile $(MOBILE)-$* float $*

$(MOBILE)-%/qnn/manifest.json: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks.engines.mobile $(MOBILE)-$* qnn $*

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python requirements.txt constraints.txt pyproject.toml runtimes/python/pyproject.toml
	@echo "installing into $(VENV) (a minute or two the first time)"
	@test -f $(VENV)/.installed-dev || RRWKV_NATIVE_REQUIRED=0 $(BIN)/pip install --quiet --requirement requirements.txt
	@touch $@

# Editable: tests see the sources. The kernels are compiled anew when theirs change.
SOURCES := $(shell find runtimes/native/src runtimes/native/checks runtimes/native/emulated -name "*.cc" -o -name "*.h")
NATIVE := $(wildcard runtimes/native/* runtimes/native/rrwkv_native/*) $(SOURCES)
PYPROJECTS := pyproject.toml runtimes/python/pyproject.toml runtimes/server/pyproject.toml
$(VENV)/.installed-dev: $(VENV)/bin/python requirements-dev.txt constraints.txt $(PYPROJECTS) $(NATIVE)
	@echo "installing into $(VENV) (a minute or two the first time)"
	@$(BIN)/pip install --quiet --requirement requirements-dev.txt
	@touch $@ $(VENV)/.installed

# The kernels under the sanitizers of addresses and undefined behaviour, by each table that an x86-64 with AVX2 has, and
# by those of newer ones, their instructions emulated: their tests, and many more hostile nodes. It needs CMake and GCC,
# and takes a while.
SANITIZED := build/native-sanitized
HOSTILE ?= 20000
TABLES ?= scalar avx2 avx2-vnni avx512
SANITIZED_TESTS := $(filter-out %_install.py %_wheels.py %_choice.py,$(wildcard tests/native/test_native*.py))
SANITIZERS := $(foreach name,libasan libubsan libstdc++,$$(g++ -print-file-name=$(name).so))
native-sanitized: $(VENV)/.installed-dev native-threads
	@CXX=g++ cmake -S runtimes/native -B $(SANITIZED) -DRRWKV_NATIVE_EMULATED=ON -DRRWKV_NATIVE_CHECKS=ON \
		-DRRWKV_NATIVE_SANITIZERS=address,undefined > /dev/null
	@cmake --build $(SANITIZED) --parallel > /dev/null
	@cmake --install $(SANITIZED) --prefix $(SANITIZED)/package > /dev/null
	@cp runtimes/native/rrwkv_native/*.py $(SANITIZED)/package/rrwkv_native
	@set -e; for check in $(SANITIZED)/check_*; do $$check; done
	set -e; for table in $(TABLES); do \
		RRWKV_NATIVE=$$table PYTHONPATH=$(SANITIZED)/package HOSTILE=$(HOSTILE) PYTHONMALLOC=malloc \
		LD_PRELOAD="$(SANITIZERS)" ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 \
		UBSAN_OPTIONS=print_stacktrace=1 $(BIN)/pytest $(SANITIZED_TESTS); done

# What the kernels' threads do at once, under the sanitizer of threads. Seconds; it needs CMake and GCC.
THREADS := build/native-threads
native-threads:
	@CXX=g++ cmake -S runtimes/native -B $(THREADS) -DRRWKV_NATIVE_CHECKS=ON -DRRWKV_NATIVE_SANITIZERS=thread > /dev/null
	@cmake --build $(THREADS) --parallel --target check_spin_team > /dev/null
	@TSAN_OPTIONS=halt_on_error=1 setarch -R $(THREADS)/check_spin_team

# Wheels that need no compiler: of $(WHEELS), or of all that runtimes/native/wheels.py knows.
WHEELS ?=
build/wheels/.installed: runtimes/native/pyproject.toml
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/pip install --quiet --constraint constraints.txt scikit-build-core wheel ziglang cmake ninja
	@touch $@

wheels: build/wheels/.installed
	@$(<D)/bin/python runtimes/native/wheels.py dist $(WHEELS)

# Those for Linux, what they show and need, and the one for this machine in an environment without a compiler. Those for musl
# are loaded where its loader is (Debian's packages musl and musl:arm64, and qemu-user for the latter).
test-wheels: $(VENV)/.installed-dev
	@$(MAKE) --no-print-directory wheels \
		WHEELS="$(foreach libc,manylinux_2_28 musllinux_1_2,$(libc)_x86_64 $(libc)_aarch64)"
	$(BIN)/pytest -m "" tests/native/test_native_wheels.py

# Modules of WebAssembly where the runtime for browsers finds them, by Zig's compiler as the wheels; and the program that
# holds their tables to `scalar`, for tests/native/test_web_kernels.py.
WEB_KERNELS := runtimes/web/dist/kernels
WEB_MODULES := $(addprefix $(WEB_KERNELS)/kernels,.wasm -relaxed.wasm -threads.wasm -relaxed-threads.wasm)
web-kernels: $(WEB_MODULES) build/web-kernels/check.wasm build/web-kernels/check-relaxed.wasm

$(WEB_KERNELS)/%.wasm build/web-kernels/%.wasm: runtimes/native/web_kernels.py $(SOURCES) | build/wheels/.installed
	@build/wheels/bin/python runtimes/native/web_kernels.py $(@D) $*

# The wheel for Arm64 on an emulated one, against the same models' logits here, to the last bit.
arm64-native: $(VENV)/.installed-dev
	@$(MAKE) --no-print-directory wheels WHEELS=manylinux_2_28_aarch64
	@rm -rf build/arm64-native && $(BIN)/python -m zipfile -e dist/rrwkv_native-*manylinux*aarch64.whl build/arm64-native
	@PYTHONPATH=tests $(BIN)/python tests/native/elsewhere.py make build/elsewhere > /dev/null
	@benchmarks/engines/arm64.sh build/arm64 -c "import sys, runpy; sys.path[:0] = ['build/arm64-native']; \
		sys.argv[:] = ['', 'check', 'build/elsewhere', 'neon', 'scalar']; runpy.run_path('tests/native/elsewhere.py', run_name='__main__')"

# What is in TypeScript, and the chat page. $(NODE) runs a command with Node.js and all packages; see there.
PAGE := rrwkv_export/assets/web/rrwkv-page.json
PAGE_SOURCES := $(wildcard runtimes/web/page/*.* runtimes/web/*.json) \
	runtimes/python/rrwkv_runtime/manifest.schema.json \
	$(shell find $(addprefix runtimes/web/,src page/src page/static page/service-worker) -type f)
NODE := PYTHON=$(PYTHON) runtimes/web/node.sh

web: $(PAGE)

$(PAGE): $(PAGE_SOURCES) $(WEB_MODULES)
	@$(NODE) npm --prefix runtimes/web/page run --silent check
	@$(NODE) node runtimes/web/page/build.mjs --output $(@D)

# With the demo, and an RWKV-7 where $RWKV7_CHAT says in which folder it is. Status 77: something is not to be had here,
# and was told.
WEB_BUNDLES := build/web
WEB_MODELS := demo $(if $(RWKV7_CHAT),rwkv7)
empty :=
space := $(empty) $(empty)

web-test: $(WEB_MODELS:%=$(WEB_BUNDLES)/%/manifest.json)
	@export CHROMIUM=$$(runtimes/web/chromium.sh); RRWKV_PYTHON=$(abspath $(BIN)/python) \
		RRWKV_BUNDLES=$(subst $(space),:,$(WEB_MODELS:%=$(CURDIR)/$(WEB_BUNDLES)/%)) \
		$(NODE) npm --prefix runtimes/web run --silent check || [ $$? = 77 ]

page-test: $(WEB_MODELS:%=$(WEB_BUNDLES)/%-int8/manifest.json)
	@chromium=$$($(NODE) runtimes/web/chromium.sh) && \
		{ $(MAKE) -s build/wheels/.installed > /dev/null 2>&1 || \
			{ echo "the page's tests are skipped: pip cannot fetch Zig's compiler" >&2; (exit 77); }; } && \
		$(MAKE) --no-print-directory page-test-in CHROMIUM=$$chromium || [ $$? = 77 ]

page-test-in: $(PAGE)
	@CHROMIUM=$(CHROMIUM) RRWKV=$(abspath $(BIN)/rrwkv) PAGE=$(CURDIR)/$(<D) BUNDLE=$(CURDIR)/$(WEB_BUNDLES)/demo-int8 \
		BUNDLE_RWKV7=$(if $(RWKV7_CHAT),$(CURDIR)/$(WEB_BUNDLES)/rwkv7-int8) $(NODE) npm --prefix runtimes/web/page test --silent

# By default the demo in int8.
BUNDLES ?= $(WEB_BUNDLES)/demo-int8
page-bench: $(PAGE) $(WEB_BUNDLES)/demo-int8/manifest.json
	@CHROMIUM=$$(runtimes/web/chromium.sh) PAGE=$(CURDIR)/$(<D) $(NODE) node runtimes/web/page/benchmark.mjs $(BUNDLES)

# Of docs/web.md.
page-pictures: $(PAGE) $(WEB_BUNDLES)/demo-int8/manifest.json
	@CHROMIUM=$$(runtimes/web/chromium.sh) PAGE=$(CURDIR)/$(<D) BUNDLE=$(CURDIR)/$(WEB_BUNDLES)/demo-int8 \
		$(NODE) node runtimes/web/page/tests/pictures.mjs docs

$(WEB_BUNDLES)/%-int8/manifest.json: $(WEB_BUNDLES)/%/manifest.json
	@$(BIN)/rrwkv quantize $(<D) -o $(@D) --scheme int8 --samples 16 --force > /dev/null

$(WEB_BUNDLES)/%/manifest.json: $(VENV)/.installed-dev
	@$(BIN)/rrwkv export $(if $(filter demo,$*),$(CHECKPOINT),$(firstword $(wildcard $(RWKV7_CHAT)/*.pth))) -o $(@D) \
		--force --tokens 48 > /dev/null

clean:
	rm -rf build $(VENV)

# `make demo` and `make test` are all a newcomer needs; both work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := runtime/m8d/runtime/demo
ORT_HEADERS := build/onnxruntime-headers

.PHONY: demo test cpp clean

demo: $(VENV)/runtime
	$(BIN)/m8d-run convert --source $(DEMO)/source.flac --reference $(DEMO)/reference.flac --output demo.wav

test: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

# The C and C++ runtime, plain and under sanitizers. Needs cmake, ninja, and the -dev packages of soxr, sndfile, OpenSSL
# and nlohmann-json. ONNX Runtime is the library of the Python wheel and, for this test only, headers from npm.
cpp: $(VENV)/test $(ORT_HEADERS)
	for kind in cpp cpp-sanitized; do \
		cmake -S runtime/cpp -B build/$$kind -G Ninja -DONNXRUNTIME_INCLUDE_DIR=$(abspath $(ORT_HEADERS)) \
			-DONNXRUNTIME_LIBRARY="$$($(BIN)/python -c 'import glob, onnxruntime as o; print(glob.glob(o.__path__[0] + "/capi/libonnxruntime.so.*")[0])')" \
			-DM8D_SANITIZE=$$(test $$kind = cpp && echo OFF || echo ON) && cmake --build build/$$kind || exit 1; \
	done
	M8D_CPP_BUILD=build/cpp $(BIN)/python -m pytest tests/cpp
	M8D_CPP_BUILD=build/cpp-sanitized LD_PRELOAD="$$(c++ -print-file-name=libasan.so) $$(c++ -print-file-name=libstdc++.so.6)" \
		ASAN_OPTIONS=detect_leaks=0 $(BIN)/python -m pytest tests/cpp

$(ORT_HEADERS):
	mkdir -p build/npm && cd build/npm && npm pack --silent com.github.asus4.onnxruntime@0.4.9
	mkdir -p $@ && tar xzf build/npm/*.tgz -C $@ --wildcards --strip-components=7 'package/Plugins/iOS~/onnxruntime.xcframework/ios-arm64/*/Headers/*.h'
	rm -r build/npm

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/runtime: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[cpu]'
	touch $@

$(VENV)/test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/runtime

clean:
	rm -rf $(VENV) build demo.wav

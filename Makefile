# Every target works on a fresh clone: the environment is made when it is missing or out of date.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
# Without what they depend on, which is there: they would replace torch by a build for CUDA.
LIBRARIES := torchvision timm segmentation-models-pytorch grad-cam zennit
DEMO := gradviz-out/demo
COMPAT := .venv-torch-$(TORCH)

.PHONY: demo quick test compat fuzz lint bench clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps $(LIBRARIES)
	touch $@

demo: $(READY)
	$(BIN)/gradviz saliency sample_models/depth.ts 'sample_images/room_*' \
	    --seed ones --seed pixel:64,48 -o $(DEMO)/depth --overwrite
	$(BIN)/gradviz saliency sample_models/shapes.yaml 'sample_images/shapes_*' \
	    --seed top --seed class:triangle --view overlay --view signed -o $(DEMO)/shapes --overwrite
	$(BIN)/gradviz report $(DEMO)/depth $(DEMO)/shapes --images -o $(DEMO)/report.html
	@echo "The pictures are in $(DEMO)/depth and $(DEMO)/shapes; $(DEMO)/report.html shows them all"
	@echo "Point at the output yourself: $(BIN)/gradviz explore sample_models/depth.ts sample_images/room_01.png"

# The unit tests, without those that start processes.
quick: $(READY)
	$(BIN)/python -m pytest -n auto --dist loadfile -m 'not process and not browser' \
	    tests/unit tests/test_architecture.py tests/test_vocabulary.py

# All tests, or with T=path those of a file or folder.
test: $(if $(T),$(READY),lint)
	$(BIN)/python -m pytest $(or $(T),-n auto --dist loadfile)

# All tests, or with T=path those of a file or folder, on another version of torch, in an
# environment of its own: make compat TORCH=2.10.0
compat:
	@test -n "$(TORCH)" || { echo "name a version: make compat TORCH=2.10.0" >&2; exit 2; }
	$(PYTHON) -m venv $(COMPAT)
	grep -vE '^(torch|torchvision)==' constraints.txt > $(COMPAT)/constraints.txt
	$(COMPAT)/bin/pip install --quiet --disable-pip-version-check -c $(COMPAT)/constraints.txt \
	    torch==$(TORCH) torchvision -e '.[test]'
	$(COMPAT)/bin/pip install --quiet --disable-pip-version-check -c $(COMPAT)/constraints.txt \
	    --no-deps $(filter-out torchvision,$(LIBRARIES))
	$(COMPAT)/bin/python -m pytest $(or $(T),-n auto --dist loadfile)

fuzz: $(READY)
	GRADVIZ_FUZZ=long $(BIN)/python -m pytest -n auto -o faulthandler_timeout=0 tests/robustness/fuzz \
	    tests/robustness/faults/test_interrupted.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .venv-torch-* gradviz-out build *.egg-info

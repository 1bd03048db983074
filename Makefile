# Everything runs in .venv, made on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT := outputs

.PHONY: venv demo ui test lint clean

venv: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# The example, edited by the embedded model.
demo: venv
	$(BIN)/python generate.py --task pvtt --config configs/pvtt/demo.yaml \
		--save_file $(OUT)/demo.mp4
	@echo 'Window, mask, photo and result: $(OUT)/demo_sheet.png and'
	@echo '$(OUT)/demo_comparison.mp4; the result alone: $(OUT)/demo.mp4'

# The page, on this machine alone; ARGS="--ckpt_dir FOLDER" for other weights.
ui: $(VENV)/.ui
	$(BIN)/python gradio/app.py --out $(OUT)/page $(ARGS)

$(VENV)/.ui: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[ui]'
	touch $@

test: venv
	$(BIN)/python -m pytest

lint: venv
	$(BIN)/ruff check .

clean:
	rm -rf $(VENV) $(OUT) build *.egg-info

# Everything runs in .venv, made on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT := outputs

.PHONY: venv demo test lint clean

venv: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# The example edited with random weights: shows the way, not the quality.
demo: venv
	$(BIN)/python tools/random_checkpoint.py $(OUT)/random-checkpoint
	$(BIN)/python generate.py --task pvtt --config configs/pvtt/demo.yaml \
		--ckpt_dir $(OUT)/random-checkpoint --save_file $(OUT)/demo.mp4
	@echo 'Weights are random: the product becomes noise, the rest is kept.'
	@echo 'See $(OUT)/demo_sheet.png; for real edits give --ckpt_dir an'
	@echo 'official checkpoint, see README.md.'

test: venv
	$(BIN)/python -m pytest

lint: venv
	$(BIN)/ruff check .

clean:
	rm -rf $(VENV) $(OUT) build *.egg-info

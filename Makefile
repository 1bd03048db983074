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

# Text to video on random weights: shows that the installation works.
demo: venv
	$(BIN)/python tools/random_checkpoint.py $(OUT)/random-checkpoint
	$(BIN)/python generate.py --task t2v-tiny --size '128*128' \
		--frame_num 17 --sample_steps 20 --base_seed 0 \
		--ckpt_dir $(OUT)/random-checkpoint \
		--prompt 'a red watch turning on a wooden table' \
		--save_file $(OUT)/demo.mp4

test: venv
	$(BIN)/python -m pytest

lint: venv
	$(BIN)/ruff check .

clean:
	rm -rf $(VENV) $(OUT) build *.egg-info

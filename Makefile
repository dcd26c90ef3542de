# Everything runs in .venv, which tools/pip_ros makes on first use and brings up to date after.
PYTHON ?= python3
# Seeds from 1,000,000 on are towns that training never saw
SEED ?= 1000007
BIN := .venv/bin
CODE := loc2_ros launch scripts/loc2 scripts/loc2_node scripts/kitti_adapter setup.py test tools

.PHONY: help venv demo test test-all lint clean

help:
	@echo 'make demo [SEED=n]  localize a drive through an unseen town; results in out/demo'
	@echo 'make test           all tests but the slow ones; test-all adds those'
	@echo 'make lint           the rules of ament_flake8 and ament_pep257, and mypy'
	@echo 'make venv           only the set-up; PYTHON=python3.12 picks another interpreter'
	@echo 'make clean          remove what the above made, .venv included'

venv:
	@$(PYTHON) tools/pip_ros/build.py

demo: venv
	@$(BIN)/loc2 demo --seed $(SEED) --out out/demo

test: venv
	$(BIN)/python -m pytest

test-all: venv
	$(BIN)/python -m pytest -m 'slow or not slow'

lint: venv
	$(BIN)/ament_flake8 $(CODE)
	$(BIN)/ament_pep257 $(CODE)
	$(BIN)/mypy

clean:
	rm -rf .venv .venv.lock out build install log .mypy_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

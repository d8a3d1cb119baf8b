"""One processor thread for every test process: the tests run side by side, one on each core."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests that run side by side are given a terminal's width, and tables are wider where there is no terminal.
os.environ.pop("COLUMNS", None)

"""Tests run side by side, so each process keeps to one core."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # also for the processes that tests start
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # foolbox looks for git when imported

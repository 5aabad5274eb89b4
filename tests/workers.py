"""The workers of pytest-xdist. One and all that it starts have one core: threads that wait for each other are slow."""

import os

WORKER = os.environ.get("PYTEST_XDIST_WORKER")
THREADS = 1 if WORKER else None

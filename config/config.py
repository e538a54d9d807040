"""Where this project keeps what: mlrepro reads it as text, and never runs it; code imports it.

mlrepro uses two of these names: BLOB_STORE, the folder (or the URL) that keeps the content of every
version of the data, and TRACK, which data files it looks after without being told of each.
"""

from __future__ import annotations

from pathlib import Path

# The top of the repository, wherever it was cloned to.
BASE_DIR = Path(__file__).parent.parent.absolute()

CONFIG_DIR = Path(BASE_DIR, "config")
DATA_DIR = Path(BASE_DIR, "data")
LOGS_DIR = Path(BASE_DIR, "logs")
STORES_DIR = Path(BASE_DIR, "stores")

# Content-addressed: a file lies under the md5 of its bytes, so each version is kept, and only once.
BLOB_STORE = Path(STORES_DIR, "blob")

# New files that match are tracked by `make dvc`, and by every commit, from then on.
TRACK = ["data/*.csv"]

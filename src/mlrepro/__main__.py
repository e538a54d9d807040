"""Lets ``python -m mlrepro`` do what the ``mlrepro`` command does."""

from __future__ import annotations

import sys

from mlrepro.start import main

if __name__ == "__main__":
    sys.exit(main())

"""Makes every git commit a snapshot of code, config, data and models that can be brought back."""

__version__ = "0.1.0"

"""Measurements of what the project promises about speed. Run them with `python -m bench`; see README.md."""

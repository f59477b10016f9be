"""The pilot to its end, own models included, and its page in a browser: `make pilot` (a few minutes; Linux)."""

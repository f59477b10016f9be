"""Record-level differential privacy in the built-in trainer (tier 2); docs/sovereignty.md says what it promises."""

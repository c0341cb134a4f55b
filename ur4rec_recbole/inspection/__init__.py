"""Whether a feature table is sound and useful."""

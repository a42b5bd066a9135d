"""Scenarios: what happens to a cloud, told in a few lines, and the log that must come out."""

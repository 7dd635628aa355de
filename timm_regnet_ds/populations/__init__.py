"""Populations of models sampled from design spaces: their training, their statistics, their reports."""

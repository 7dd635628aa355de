"""Prediction of milliseconds from complexity."""

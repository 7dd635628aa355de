"""Captures what timm would build a model from, changes it, and builds it."""

"""Scaling strategies and rounding as plain arithmetic, without torch."""

"""Milliseconds predicted from complexity."""

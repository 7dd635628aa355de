"""Sharing trained models on the Hugging Face Hub."""

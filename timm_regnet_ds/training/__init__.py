"""Sharing trained models on the Hugging Face Hub, and checkpoints of timm."""

"""Recipes and checkpoints of timm's scripts, and trained models as files, on the Hugging Face Hub and as ONNX."""

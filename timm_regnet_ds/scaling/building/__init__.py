"""What timm would build a model from, captured, changed, and built."""

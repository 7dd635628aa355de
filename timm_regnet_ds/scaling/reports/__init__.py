"""What the command line prints of scaled models, and tables over all of timm."""

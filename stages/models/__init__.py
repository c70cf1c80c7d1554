"""What variants are made of: pretrained checkpoints, tokens, artifacts, the torch adapter."""

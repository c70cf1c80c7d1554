"""torch.ao's dynamic quantization."""

"""Our own int8 layers, multiplied by FBGEMM."""

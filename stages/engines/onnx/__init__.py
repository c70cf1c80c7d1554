"""ONNX Runtime, and ONNX's own form of an int8 Linear."""

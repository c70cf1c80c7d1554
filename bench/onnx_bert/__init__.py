"""A BERT classifier written for ONNX Runtime by hand: its own operators, nothing left to patterns.

An exported graph holds the same layers in hundreds of small nodes, and is fast only where ONNX
Runtime's fusions know their pattern. With transformers 5 they do not: the new code for masks lies
between, and not one attention is fused, without a word.

graph.py writes it, fused.py proves what of it runs, ranges.py learns the ranges that static
quantization needs, choice.py picks among the forms that it can take on this CPU.
"""

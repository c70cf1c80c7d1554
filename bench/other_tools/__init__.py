"""This pipeline beside other tools: the same fine-tuned model, the same labelled file.

`python -m bench.other_tools MODEL DATA`, or `make other-tools MODEL= DATA=`. One file a tool.
"""

"""transformers' simulation of I-BERT's own formats: a reference in floating point, no product."""

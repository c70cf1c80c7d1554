"""int8_fast: an int8 Linear for CPUs without VNNI, and the encoder around it."""

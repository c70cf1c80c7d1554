"""What `make` starts beside the stages: the whole run, presets, the tables in docs/."""

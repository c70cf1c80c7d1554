"""params.yaml as types."""

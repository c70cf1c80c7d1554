"""What several variants run on; a variant names one and says how it is to be set."""

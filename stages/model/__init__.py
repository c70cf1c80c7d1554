"""What every variant needs: artifact, classifier, tokens, storage, what the CPU can do."""

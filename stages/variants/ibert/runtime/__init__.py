"""The C++ that runs an artifact, and its one binding to Python."""

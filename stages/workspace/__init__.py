"""What DVC cannot see: the machine, files outside of the repository, what was left lying."""

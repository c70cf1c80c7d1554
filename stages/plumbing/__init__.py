"""What can stop a stage but never change its result: arguments, errors, safe writing."""

"""What can stop a stage but never change its result: parameters, errors, safe writing."""

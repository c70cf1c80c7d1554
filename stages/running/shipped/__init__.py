"""What every export brings along, whatever its variant: raw text in, answers out."""

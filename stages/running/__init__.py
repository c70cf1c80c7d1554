"""Models in processes of their own: timed, and as they were exported."""

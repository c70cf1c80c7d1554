"""A task's comparison as one page, reports/<task>/index.html: opens from disk, loads nothing."""

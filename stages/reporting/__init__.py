"""What people read: comparison rows, tables, the model card."""

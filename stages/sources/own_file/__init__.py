"""The user's own CSV, TSV or Parquet file: csv_file.py, then rows.py, table.py, delimited.py."""

"""Files of rows that are appended whole, files that are written whole, and tables in Markdown."""

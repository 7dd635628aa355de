"""Files: rows that are appended atomically, files that are written atomically, tables as Markdown and CSV."""

"""What crosses the wire: commands and reports in, events out. Imports nothing of the worker."""

"""Files to tables: formats, compression, encodings, layouts, values."""

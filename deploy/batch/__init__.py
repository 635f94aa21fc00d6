"""Many pictures at once: from shards, tables, folders and URLs."""

"""Looking at shards: sheets, checks, what a rank reads, and what would go wrong."""

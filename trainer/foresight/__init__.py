"""What a run will take and come to, before it begins."""

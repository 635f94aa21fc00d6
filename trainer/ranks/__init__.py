"""The processes of a run: how they meet, that they live, and how they stop."""

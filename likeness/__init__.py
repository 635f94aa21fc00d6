"""The ground that every room stands on: commands, files, locks, machines, sessions. It knows no pair and no method."""

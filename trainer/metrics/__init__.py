"""Ways of judging painted pictures; one file for each."""

"""What people say of pairs, and the page on which they say it."""

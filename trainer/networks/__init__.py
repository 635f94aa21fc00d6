"""Networks, which know nothing but each other."""

"""What makes training faster or smaller without changing what it computes."""

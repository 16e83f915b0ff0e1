"""A zoo of one kind."""

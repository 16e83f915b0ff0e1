"""A zoo that somebody writes for policies of other libraries: it computes what they computed, in names of its own."""

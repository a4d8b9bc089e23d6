"""Whether what is stored is what should be."""

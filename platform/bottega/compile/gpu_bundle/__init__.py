"""Scripts that a bundle carries to a GPU machine. They need Python and numpy there, and nothing of Bottega."""

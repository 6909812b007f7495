"""`python -m bottega.cli`."""

from bottega.cli import main

main()

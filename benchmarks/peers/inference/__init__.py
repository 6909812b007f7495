"""The same models in several engines: each has a file `with_<backend>.py` with a function `load(case, threads)`."""

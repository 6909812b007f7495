"""One feature job in several engines: each has a file `with_<engine>.py` with a function `answer(job)`."""

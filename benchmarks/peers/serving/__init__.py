"""One model behind several servers: each has a file `with_<server>.py` with a function `server(place)`."""

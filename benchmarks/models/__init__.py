"""Reference networks: what the compile step is measured and tested on."""

"""The demo: the whole loop once, narrated, from raw trips to a retrained model after an incident."""

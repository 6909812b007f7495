"""An invented market of rides, in which pricing policies are judged: riders, drivers, dispatch, prices."""

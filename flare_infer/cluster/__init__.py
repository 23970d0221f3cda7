"""Many cases on many machines: fixed parts, estimates, and workers that a scheduler such as Ray places."""

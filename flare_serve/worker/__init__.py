"""The worker: one thread for each device that holds the model and runs jobs as predict runs cases."""

"""Job managers: the one place that knows how a job is handed to Slurm or to Grid Engine.

A job manager is one module here: a subclass of model.JobManager, whose methods are documented there, named in
registry.MANAGERS. What it gives is data, a Submission: the script, where it is kept, and the command line that hands
it over; model.carry_out does it.
"""

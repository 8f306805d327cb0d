"""sdee: run a job on an HPC compute node exactly as it ran on the login node."""

__version__ = "0.2.0"

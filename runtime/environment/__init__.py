"""A private environment in which the user is root over the login node's own system."""

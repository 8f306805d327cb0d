"""How a bundle runs elsewhere: finds the launcher and hands over to it."""

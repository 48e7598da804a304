"""The built-in priors."""

"""The built-in divergences."""

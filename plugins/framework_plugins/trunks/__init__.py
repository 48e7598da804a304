"""The built-in trunks."""

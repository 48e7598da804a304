"""The built-in wrappers of environments, each one of gymnasium's."""

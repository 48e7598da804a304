"""The built-in environments, in gymnasium's own registry under the namespace `fw/`."""

"""The built-in updates."""

"""Running models: embedded or behind an owner's own server."""

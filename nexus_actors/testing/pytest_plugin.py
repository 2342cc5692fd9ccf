"""The pytest plugin: makes a plugin folder's tests run as they are written."""

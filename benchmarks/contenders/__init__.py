"""Those that are compared: each file is a program that does one task and prints its figures."""

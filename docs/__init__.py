"""The documentation, and the program that makes its reference pages from the code."""

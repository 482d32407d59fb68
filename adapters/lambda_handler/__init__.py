"""The AWS Lambda host."""

"""The one suite that every host passes."""

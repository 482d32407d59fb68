"""One module a revision, `<branch>_<number>`; the number orders a branch and is never reused."""

"""What a command tells the shell when it ends; no other place spells the numbers."""

DONE, SOME_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

"""The evaluation suite: every faithfulness metric, on the file that ships, for every map alike."""

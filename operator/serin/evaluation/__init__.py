"""Pure: samples and policies in, verdicts, diagnosis and feasibility out."""

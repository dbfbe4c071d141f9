"""Pure: evidence to verdict. One module per question asked of the numbers."""

"""What users write and read: the resources, their names, conditions and reasons. Imports nothing else of Serin."""

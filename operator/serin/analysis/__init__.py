"""Pure statistics: counts and evidence in, evidence and a verdict out. One module per question, engine.py in front."""

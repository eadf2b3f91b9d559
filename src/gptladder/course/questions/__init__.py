"""The questions of a lesson: choices, gaps with numbers drawn for each learner, and exhibits to judge."""
